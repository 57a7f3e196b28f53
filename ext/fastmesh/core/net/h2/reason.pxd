"""Why a connection of a client was ended: the text in the log and in the GOAWAY, and its counter."""
from libc.string cimport strcmp
from fastmesh.core.base.counters cimport (
    WK_H2_CHATTER, WK_H2_CONTINUATIONS, WK_H2_CONTROL, WK_H2_EMPTY_FRAMES, WK_H2_HEADER_OVERFLOW, WK_H2_PRIORITIES,
    WK_H2_PROTOCOL_ERROR, WK_H2_RESETS, WK_H2_SETTINGS, WK_H2_WINDOWS,
)

cdef inline int word_of(const char* why) noexcept nogil:
    if strcmp(why, "too_many_resets") == 0: return WK_H2_RESETS
    if strcmp(why, "too_many_pings") == 0: return WK_H2_CHATTER
    if strcmp(why, "too_many_settings") == 0: return WK_H2_CHATTER
    if strcmp(why, "too_many_settings_entries") == 0: return WK_H2_SETTINGS
    if strcmp(why, "too_many_control_frames") == 0: return WK_H2_CONTROL
    if strcmp(why, "too_many_window_updates") == 0: return WK_H2_WINDOWS
    if strcmp(why, "too_many_priorities") == 0: return WK_H2_PRIORITIES
    if strcmp(why, "too_many_empty_frames") == 0: return WK_H2_EMPTY_FRAMES
    if strcmp(why, "too_many_continuations") == 0: return WK_H2_CONTINUATIONS
    if strcmp(why, "header_block_too_large") == 0: return WK_H2_HEADER_OVERFLOW
    return WK_H2_PROTOCOL_ERROR
