"""The rate of this machine's time stamp counter, which an emulated processor's runs at too (the counter is read through)."""
import ctypes
import mmap
import time

# rdtsc; shl rdx, 32; or rax, rdx; ret
CODE = b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3"
SPAN_NS = 20_000_000


def khz():
    """Busy for 20 ms: the error is well below the 500 ppm that clocks of computers have anyway."""
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as memory:
        memory.write(CODE)
        anchor = ctypes.c_char.from_buffer(memory)
        read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(anchor))
        ticks, begun = read(), time.monotonic_ns()
        while (span := time.monotonic_ns() - begun) < SPAN_NS:
            pass
        rate = (read() - ticks) * 1_000_000 // span
        del read, anchor
    return rate
