package relay

import (
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Raw system calls and not package ipv4's ReadBatch and WriteBatch, which allocate an address for each datagram and thereby
// lose what they gain.

// inbox receives a batch of datagrams. Its buffers have room for the largest datagram each; memory is only used where one has
// been that large.
type inbox struct {
	headers  []unix.Mmsghdr
	vectors  []unix.Iovec
	names    []unix.RawSockaddrInet6
	controls [][controlSize]byte
	data     []byte
	n        int
}

func newInbox(size int) *inbox {
	in := &inbox{
		headers: make([]unix.Mmsghdr, size), vectors: make([]unix.Iovec, size), names: make([]unix.RawSockaddrInet6, size),
		controls: make([][controlSize]byte, size), data: make([]byte, size*maxDatagram),
	}
	for i := range in.headers {
		in.vectors[i].Base = &in.data[i*maxDatagram]
		in.vectors[i].SetLen(maxDatagram)
		h := &in.headers[i].Hdr
		h.Iov = &in.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&in.names[i]))
		h.Control = &in.controls[i][0]
	}
	in.n = size
	return in
}

// receive reads what is there without waiting. EAGAIN: nothing. The connected sockets of primaries leave names and controls
// unused.
func (in *inbox) receive(fd uintptr) (int, error) {
	for i := range in.n { // the kernel wrote sizes there
		h := &in.headers[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlSize)
	}
	in.n = 0
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&in.headers[0])), uintptr(len(in.headers)), unix.MSG_DONTWAIT, 0, 0)
		runtime.KeepAlive(in)
		switch errno {
		case 0:
			in.n = int(n)
			return in.n, nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

func (in *inbox) msg(i int) []byte {
	start := i * maxDatagram
	return in.data[start : start+int(in.headers[i].Len) : start+maxDatagram]
}

func (in *inbox) peer(i int) sockaddr {
	s := sockaddr{len: in.headers[i].Hdr.Namelen}
	if s.len >= unix.SizeofSockaddrInet6 {
		s.raw = in.names[i]
		s.raw.Flowinfo = 0 // differs among the datagrams of one client
		return s
	}
	from := (*unix.RawSockaddrInet4)(unsafe.Pointer(&in.names[i]))
	*(*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw)) = *from
	return s
}

func (in *inbox) local(i int) netip.Addr {
	return asked(in.controls[i][:in.headers[i].Hdr.Controllen])
}

// parcel is a datagram to be sent.
type parcel struct {
	to    sockaddr   // len 0: where the socket is connected to
	local netip.Addr // the address to send from; invalid: the socket knows
	msg   []byte
	own   []byte // memory that is used again
	id    uint16 // on the line
}

// sender sends parcels in batches.
type sender struct {
	headers  []unix.Mmsghdr
	vectors  []unix.Iovec
	controls [][controlSize]byte
	// of one system call
	first, last int
	sent        int
	err         error
	call        func(fd uintptr) bool
}

func newSender(size int) *sender {
	s := &sender{headers: make([]unix.Mmsghdr, size), vectors: make([]unix.Iovec, size), controls: make([][controlSize]byte, size)}
	s.call = func(fd uintptr) bool { s.transmit(fd); return true }
	return s
}

func (s *sender) transmit(fd uintptr) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.headers[s.first])), uintptr(s.last-s.first), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			s.sent, s.err = int(n), nil
			return
		case unix.EINTR:
		default:
			s.sent, s.err = 0, errno
			return
		}
	}
}

// send hands parcels to the kernel, in order and without waiting, and calls failed for those that it does not take.
func (s *sender) send(to *socket, parcels []parcel, failed func(p *parcel, err error)) {
	for len(parcels) > 0 {
		batch := parcels[:min(len(parcels), len(s.headers))]
		parcels = parcels[len(batch):]
		for i := range batch {
			s.put(i, &batch[i])
		}
		for s.first, s.last = 0, len(batch); s.first < s.last; {
			if err := to.raw.Write(s.call); err != nil {
				s.sent, s.err = 0, err
			}
			if s.sent == 0 {
				failed(&batch[s.first], s.err)
				s.sent = 1
			}
			s.first += s.sent
		}
		runtime.KeepAlive(batch)
	}
}

func (s *sender) put(i int, p *parcel) {
	h := &s.headers[i].Hdr
	*h = unix.Msghdr{}
	if p.to.len > 0 {
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&p.to.raw)), p.to.len
	}
	if p.local.IsValid() {
		h.Control = &s.controls[i][0]
		h.SetControllen(putSource(&s.controls[i], p.local, p.to.raw.Scope_id))
	}
	v := &s.vectors[i]
	v.Base = unsafe.SliceData(p.msg)
	v.SetLen(len(p.msg))
	h.Iov = v
	h.SetIovlen(1)
}
