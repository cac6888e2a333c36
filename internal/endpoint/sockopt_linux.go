package endpoint

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// udpOptions sets what must be set before a UDP socket is bound. A receive
// buffer beyond net.core.rmem_max is asked for by force, which needs
// CAP_NET_ADMIN, and else cut by the kernel.
func udpOptions(shared bool, readSize int) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		ctlErr := c.Control(func(fd uintptr) {
			if shared {
				if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
					return
				}
			}
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, readSize) != nil {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, readSize)
			}
		})
		if ctlErr != nil {
			return ctlErr
		}
		return err
	}
}
