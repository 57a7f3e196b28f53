"""HPACK and the rules for header sections of HTTP/2, see hpack.pxd.

In reading order: the tables, what one field means, a block to its fields, those to a head, and a head to a block.
"""
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memmove, memset
from fastmesh.core.base.outbuf cimport OutBuf, out_reserve
from fastmesh.core.wire.authority cimport split_authority
from fastmesh.core.wire.h1_write cimport HeadOut, OutField, write_number
from fastmesh.core.wire.headers cimport (
    CHAR_CLASS, CHAR_METHOD, CHAR_TARGET, CHAR_TOKEN, CHAR_UNDERSCORE, find_control, forbidden_in_trailers, header_id, load32,
    load64, lookalike_id, method_id, same_text, token_is)
from fastmesh.core.wire.huffman cimport HUFFMAN_BAD, HUFFMAN_LONG, huffman_decode, huffman_encode, huffman_size
from fastmesh.core.wire.message cimport *

include "hpack_table.pxi"
include "hpack_fields.pxi"
include "hpack_block.pxi"
include "hpack_head.pxi"
include "hpack_encode.pxi"
