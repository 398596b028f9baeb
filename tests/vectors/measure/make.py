#!/usr/bin/env python3
"""Writes firmware.fd, two pages with the tables of an OVMF for SNP and TDX, and unified.efi, a unified kernel image in small.

They boot nothing. Addresses and kinds of the firmware's sections are edk2's (OvmfPkg/AmdSev and OvmfPkg/IntelTdx); lengths are cut.
"""

import hashlib
import pathlib
import struct
import uuid

SIZE = 2 * 4096


def guid(text):
    return uuid.UUID(text).bytes_le


def entry(data, text):
    return data + struct.pack("<H", len(data) + 18) + guid(text)


# Address, length, kind.
SEV = [
    (0x800000, 0x3000, 1),
    (0x80D000, 0x1000, 2),
    (0x80E000, 0x1000, 3),
    (0x80F000, 0x1000, 4),
    (0x810000, 0x1000, 0x10),
    (0x811000, 0x2000, 1),
]
# Offset, length of the content, address, length, kind, attributes. The second's content ends inside a page.
TDX = [
    (0x1000, 0x1000, 0xFFFFF000, 0x1000, 0, 1),
    (0, 0x180, 0xFFFFE000, 0x1000, 1, 0),
    (0, 0, 0x810000, 0x2000, 3, 0),
    (0, 0, 0x809000, 0x2000, 2, 0),
    (0, 0, 0x100000, 0x3000, 4, 2),
    (0, 0x2000, 0x900000, 0x2000, 5, 1),
]

file = bytearray(hashlib.shake_128(b"anchorhold firmware.fd").digest(SIZE))
sev = b"ASEV" + struct.pack("<III", 16 + 12 * len(SEV), 1, len(SEV)) + b"".join(struct.pack("<III", *s) for s in SEV)
tdx = b"TDVF" + struct.pack("<III", 16 + 32 * len(TDX), 1, len(TDX))
tdx += b"".join(struct.pack("<IIQQII", *s) for s in TDX)
file[0x200 : 0x200 + len(sev)] = sev
file[0x400 : 0x400 + len(tdx)] = tdx
entries = entry(struct.pack("<I", SIZE - 0x200), "dc886566-984a-4798-a75e-5585a7bf67cc")
entries += entry(struct.pack("<I", SIZE - 0x400), "e47a6535-984a-4798-865e-4685a7bf8ec2")
entries += entry(struct.pack("<II", 0x810400, 0x400), "7255371f-3a3b-4b04-927b-1da6efa8d454")
entries += entry(struct.pack("<I", 0x0080B004), "00f771de-1a7e-4fcb-890e-68c77e2fb44e")
table = entries + struct.pack("<H", len(entries) + 18) + guid("96b582de-1fb2-45f7-baea-a366c55a082d")
file[SIZE - 32 - len(table) : SIZE - 32] = table
pathlib.Path(__file__).with_name("firmware.fd").write_bytes(file)


def pe(sections, *, directories=16, certificates=0):
    """A PE32+ image with these sections (name, content), each padded to 512 bytes in the file."""
    align = lambda n: -(-n // 512) * 512
    optional = struct.pack("<HBBIIIII", 0x20B, 0, 0, 0, 0, 0, 0x1000, 0x1000)
    headers = align(64 + 24 + 112 + 8 * directories + 40 * len(sections))
    optional += struct.pack("<QIIHHHHHHIIIIHHQQQQII", 0, 4096, 512, 0, 0, 0, 0, 0, 0, 0, 0x100000, headers, 0x1234, 10, 0, 0, 0, 0, 0, 0, directories)
    table, body, place = b"", b"", headers
    for index, (name, content) in enumerate(sections):
        size = align(len(content))
        table += struct.pack("<8sIIIIIIHHI", name.encode(), len(content), 0x1000 * (index + 1), size, place if size else 0, 0, 0, 0, 0, 0x40000040)
        body += content.ljust(size, b"\0")
        place += size
    listed = [(0, 0)] * directories
    if certificates:
        listed[4] = (place, certificates)
    optional += b"".join(struct.pack("<II", *d) for d in listed)
    head = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64)
    head += b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(sections), 0, 0, 0, len(optional), 0x22E)
    return (head + optional + table).ljust(headers, b"\0") + body


# A unified kernel image whose kernel is a PE image too.
kernel = pe([(".text", b"kernel code"), (".bss", b""), (".data", b"kernel data" * 60)], directories=6)
unified = pe(
    [
        (".text", b"stub"),
        (".sbat", b"sbat,1\n"),
        (".osrel", b"ID=anchorhold\n"),
        (".cmdline", b"console=ttyS0 roothash=00"),
        (".uname", b"6.12.118"),
        (".linux", kernel),
        (".initrd", b"an initial file system\n"),
    ]
)
folder = pathlib.Path(__file__).parent
(folder / "kernel.efi").write_bytes(kernel)
(folder / "unified.efi").write_bytes(unified)
