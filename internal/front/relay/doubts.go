package relay

import "time"

// doubts remembers UPDATEs that a primary may have appended although nobody has heard so: their octets' hash without the ID, as
// long as a signature can verify. A client that sends such a request again must not be told by another primary, or by the
// front, that it was not applied (D6). It holds maxDoubts; the oldest are forgotten first.
type doubts struct {
	until map[uint64]time.Time
	order []doubt
}

type doubt struct {
	content uint64
	until   time.Time
}

const (
	maxDoubts = 1 << 14
	// doubtTime is twice the longest fudge: a message may be signed that much in the future.
	doubtTime = 10 * time.Minute
)

func (d *doubts) add(now time.Time, content uint64) {
	if d.until == nil {
		d.until = map[uint64]time.Time{}
	}
	until := now.Add(doubtTime)
	d.until[content] = until
	d.order = append(d.order, doubt{content, until})
	for len(d.order) > maxDoubts || !d.order[0].until.After(now) {
		if old := d.order[0]; d.until[old.content].Equal(old.until) {
			delete(d.until, old.content)
		}
		d.order = d.order[1:]
	}
}

func (d *doubts) has(now time.Time, content uint64) bool {
	until, ok := d.until[content]
	return ok && until.After(now)
}

// remove forgets one that was answered.
func (d *doubts) remove(content uint64) { delete(d.until, content) }
