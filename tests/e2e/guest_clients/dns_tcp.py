"""dns_tcp.py NAME...: asks the name server of /etc/resolv.conf over TCP for A; prints NAME, rcode and the number of answers."""
import socket
import struct
import sys

server = next(line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver"))
with socket.create_connection((server, 53), 20) as connection:
    stream = connection.makefile("rb")
    for name in sys.argv[1:]:  # one connection, several questions (RFC 7766)
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        query = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
        connection.sendall(struct.pack(">H", len(query)) + query)
        (size,) = struct.unpack(">H", stream.read(2))
        _, flags, _, answers, _, _ = struct.unpack(">6H", stream.read(size)[:12])
        print(name, "rcode", flags & 15, "answers", answers)
