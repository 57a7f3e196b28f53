"""What a user may write, one file per kind. Structs only: no I/O, no rules across objects."""
