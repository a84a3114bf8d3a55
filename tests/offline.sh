#!/bin/sh
# Runs a command that can reach this machine only: in a network of its own, where
# nothing but the loopback device is up. Where the system does not allow that, the
# command runs with the network, and a line says so.
#
#     tests/offline.sh COMMAND...
if ! unshare --map-root-user --net true 2>/dev/null; then
  echo "with the network: unshare is not allowed here" >&2
  exec "$@"
fi
exec unshare --map-root-user --net "${PYTHON:-python3}" -c '
import fcntl, os, socket, struct, sys
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
fcntl.ioctl(socket.socket(), SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
os.execvp(sys.argv[1], sys.argv[1:])
' "$@"
