#!/bin/sh
# Runs a command without network: in its own network namespace, where only the loopback
# device is up. If the system does not allow this, the command runs with the network,
# after a warning.
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
