"""Path normalisation, one value for routing, policy, log and upstream (Istio's MeshConfig.pathNormalization)."""

cdef enum Normalization:
    PATH_NONE = 0
    PATH_BASE = 1
    PATH_MERGE_SLASHES = 2
    PATH_DECODE_AND_MERGE_SLASHES = 3
    PATH_STRICT = 4           # MERGE_SLASHES, and refuses %2F, %5C, a bad escape, and dots that climb above the root

# True when normalize_path would change the path or refuse it: the likely case is one pass that finds nothing.
cdef bint path_needs_work(const char* path, size_t size, int mode) noexcept nogil

# Writes the normalised path (without query) to out, which has room for `size` bytes. Its length, or -1: answer 400.
cdef int normalize_path(const char* path, size_t size, int mode, char* out) noexcept nogil
