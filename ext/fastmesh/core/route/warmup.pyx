"""See warmup.pxd."""
from libc.math cimport pow
from libc.stdint cimport uint64_t


cdef double warmth(const WarmupRule* rule, uint64_t born, uint64_t now) noexcept nogil:
    cdef double part
    if now >= born + rule.duration:
        return 1.0
    part = pow(<double>(now - born if now > born else 1) / <double>rule.duration, rule.bend)
    return part if part > rule.least else rule.least
