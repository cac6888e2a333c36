package zone

import (
	"bufio"
	"fmt"
	"io"
)

// WriteFile writes z as zone-file text in canonical order, the SOA first: absolute names, one RR a line. named loads it,
// and ReadZone reads the same zone from it, the case of names included. The error is the writer's.
func WriteFile(w io.Writer, z *Zone) error {
	out := bufio.NewWriterSize(w, 64<<10)
	var line []byte
	write := func(s *RRset) error {
		owner := s.Owner.String()
		for _, d := range s.Data {
			line = fmt.Appendf(line[:0], "%s\t%d\tIN\t%s\t", owner, s.TTL, s.Type)
			line = append(appendDataText(line, s.Type, ClassIN, d), '\n')
			if _, err := out.Write(line); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	if z.apex.soa != nil {
		err = write(z.apex.soa)
	}
	z.Ascend(func(s *RRset) bool {
		if s != z.apex.soa && err == nil {
			err = write(s)
		}
		return err == nil
	})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("writing the zone %s: %w", z.origin, err)
	}
	return nil
}
