"""What all exchanges of one worker share."""

class AccessLog: ...

class Engine:
    @property
    def slot(self) -> int: ...
    @property
    def active(self) -> int:
        """Requests under way."""

    @property
    def connections(self) -> int:
        """Open downstream connections."""
