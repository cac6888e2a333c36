package harness

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Clock is the wall clock of one process, which a test can move while all others keep theirs, and while the monotonic clock
// of the process itself goes on: as when somebody sets the time of a machine.
//
// Programs read the time through the vDSO, code that the kernel maps into each process; there it can be changed for one
// process alone (a debugger's breakpoints are written there in the same way). The program itself knows nothing of it.
type Clock struct {
	t   testing.TB
	pid int
	mem *os.File
	at  int64 // where the process reads by how many seconds its clock is off
}

// TakeClock puts our own readings of the wall clock into a process of this user. They ask the kernel and add an offset.
func TakeClock(t testing.TB, pid int) *Clock {
	t.Helper()
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mem.Close() })
	k := &Clock{t: t, pid: pid, mem: mem}
	base, image, err := vdso(pid, mem)
	if err != nil {
		t.Fatalf("the vDSO of process %d: %v", pid, err)
	}
	syms, err := symbols(image)
	if err != nil {
		t.Fatalf("the vDSO of process %d: %v", pid, err)
	}
	slot := (syms["__vdso_clock_gettime"].Value + 64) &^ 7 // within that function, whose code is not used any more
	k.at = base + int64(slot)

	// No thread may be in the middle of what is replaced.
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	if err := Retry(10*time.Second, func(context.Context) error { return k.halted(base, int64(len(image))) }); err != nil {
		t.Fatalf("process %d: %v", pid, err)
	}
	k.write(k.at, make([]byte, 8))
	for name, code := range readings {
		sym, ok := syms[name]
		if !ok || sym.Size < uint64(len(code.bytes)) {
			t.Fatalf("the vDSO of this kernel has no %s of %d octets: %+v", name, len(code.bytes), sym)
		}
		b := bytes.Clone(code.bytes)
		// The offset is addressed from the end of the instruction that reads it.
		binary.LittleEndian.PutUint32(b[code.load+3:], uint32(int64(slot)-int64(sym.Value)-int64(code.load)-7))
		k.write(base+int64(sym.Value), b)
	}
	return k
}

// Shift sets by how much the clock is off, from now on. Whole seconds.
func (k *Clock) Shift(by time.Duration) {
	k.t.Helper()
	k.write(k.at, binary.LittleEndian.AppendUint64(nil, uint64(int64(by/time.Second))))
}

func (k *Clock) write(at int64, b []byte) {
	k.t.Helper()
	if _, err := k.mem.WriteAt(b, at); err != nil {
		k.t.Fatalf("writing to process %d: %v", k.pid, err)
	}
}

// readings are the functions of the vDSO that tell the wall clock, anew: the system call of the same purpose, and the offset
// added to the seconds. load is where the instruction begins that reads the offset.
var readings = map[string]struct {
	bytes []byte
	load  int
}{
	"__vdso_clock_gettime": {[]byte{
		0xb8, 228, 0, 0, 0, // mov $SYS_clock_gettime, %eax
		0x0f, 0x05, // syscall
		0x85, 0xff, // test %edi, %edi: CLOCK_REALTIME
		0x74, 0x05, // je add
		0x83, 0xff, 0x05, // cmp $CLOCK_REALTIME_COARSE, %edi
		0x75, 0x0a, // jne out
		0x48, 0x8b, 0x0d, 0, 0, 0, 0, // add: mov offset(%rip), %rcx
		0x48, 0x01, 0x0e, // add %rcx, (%rsi)
		0xc3, // out: ret
	}, 16},
	"__vdso_gettimeofday": {[]byte{
		0xb8, 96, 0, 0, 0, // mov $SYS_gettimeofday, %eax
		0x0f, 0x05, // syscall
		0x48, 0x85, 0xff, // test %rdi, %rdi
		0x74, 0x0a, // je out
		0x48, 0x8b, 0x0d, 0, 0, 0, 0, // mov offset(%rip), %rcx
		0x48, 0x01, 0x0f, // add %rcx, (%rdi)
		0xc3, // out: ret
	}, 12},
	"__vdso_time": {[]byte{
		0xb8, 201, 0, 0, 0, // mov $SYS_time, %eax
		0x0f, 0x05, // syscall
		0x48, 0x03, 0x05, 0, 0, 0, 0, // add offset(%rip), %rax
		0x48, 0x85, 0xff, // test %rdi, %rdi
		0x74, 0x03, // je out
		0x48, 0x89, 0x07, // mov %rax, (%rdi)
		0xc3, // out: ret
	}, 7},
}

// vdso gives the address and the content of a process's vDSO.
func vdso(pid int, mem *os.File) (base int64, image []byte, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, nil, err
	}
	for _, line := range strings.Split(string(maps), "\n") {
		if !strings.HasSuffix(line, "[vdso]") {
			continue
		}
		var end int64
		if _, err := fmt.Sscanf(line, "%x-%x", &base, &end); err != nil {
			return 0, nil, err
		}
		image = make([]byte, end-base)
		_, err = mem.ReadAt(image, base)
		return base, image, err
	}
	return 0, nil, errors.New("it has none")
}

func symbols(image []byte) (map[string]elf.Symbol, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	list, err := f.DynamicSymbols()
	if err != nil {
		return nil, err
	}
	out := map[string]elf.Symbol{}
	for _, s := range list {
		out[s.Name] = s
	}
	return out, nil
}

// halted says whether all threads stand still, and none inside the vDSO. If one is there the process goes on for a moment.
func (k *Clock) halted(base, size int64) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", k.pid))
	if err != nil || len(threads) == 0 {
		return fmt.Errorf("it has no threads: %w", err)
	}
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f := strings.Fields(string(b)) // system call, its arguments, stack and instruction pointer; or "running"
		if len(f) < 3 {
			return fmt.Errorf("a thread is %s", b)
		}
		pc, err := strconv.ParseInt(strings.TrimPrefix(f[len(f)-1], "0x"), 16, 64)
		if err != nil {
			return err
		}
		if pc >= base && pc < base+size {
			_ = syscall.Kill(k.pid, syscall.SIGCONT)
			_ = syscall.Kill(k.pid, syscall.SIGSTOP)
			return errors.New("a thread reads the time")
		}
	}
	return nil
}
