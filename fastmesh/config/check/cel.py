"""The grammar of CEL, the language of access log filters: is a text an expression? Nothing is evaluated here.

https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
"""

from __future__ import annotations

import re

MAX_DEPTH = 100

_TOKEN = re.compile(
    r"""\s*(?://[^\n]*\s*)*(?:
      (?P<text>[rRbB]{0,2}(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    | (?P<number>0x[0-9a-fA-F]+u?|\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?|\d+u?)
    | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
    | (?P<sign>\|\||&&|<=|>=|==|!=|[-+*/%<>!?:.,()\[\]{}])
    )""",
    re.VERBOSE,
)
_RELATIONS = frozenset(("<", "<=", ">", ">=", "==", "!=", "in"))
# By how tightly they bind, the loosest first.
_LEVELS = (frozenset(("||",)), frozenset(("&&",)), _RELATIONS, frozenset(("+", "-")), frozenset(("*", "/", "%")))
_RESERVED = frozenset((
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
    "namespace", "return", "var", "void", "while", "in",
))  # fmt: skip


class _WrongError(Exception):
    pass


def syntax_error(text: str) -> str:
    """What is wrong with an expression, or nothing."""
    try:
        parser = _Parser(_tokens(text))
        parser.expression()
        parser.end()
    except _WrongError as error:
        return str(error)
    return ""


def _tokens(text: str) -> list[tuple[str, str]]:
    """Kind and text of each; a sign and `in` are kinds of their own."""
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            if re.match(r"\s*//[^\n]*\Z", text[at:]):
                break
            raise _WrongError(f"{text[at : at + 20].strip()} cannot be read")
        at = token.end()
        kind, word = str(token.lastgroup), str(token[str(token.lastgroup)])
        found.append((word if kind == "sign" or word == "in" else kind, word))
    return found


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def _next(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _take(self, *kinds: str) -> bool:
        if self._next() and self._next() in kinds:
            self._at += 1
            return True
        return False

    def _need(self, kind: str) -> None:
        if not self._take(kind):
            raise _WrongError(f"{kind if kind != 'name' else 'a name'} is missing {self._where()}")

    def _where(self) -> str:
        return f"before {self._tokens[self._at][1]}" if self._at < len(self._tokens) else "at the end"

    def end(self) -> None:
        if self._next():
            raise _WrongError(f"an operator is missing {self._where()}")

    def expression(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _WrongError(f"is nested more than {MAX_DEPTH} deep")
        self._binary(0)
        if self._take("?"):
            self._binary(0)
            self._need(":")
            self.expression()
        self._depth -= 1

    def _binary(self, level: int) -> None:
        if level == len(_LEVELS):
            self._unary()
            return
        self._binary(level + 1)
        while self._take(*_LEVELS[level]):
            self._binary(level + 1)

    def _unary(self) -> None:
        sign = self._next()
        while self._take("!" if sign == "!" else "-"):
            pass
        self._primary()
        while True:
            if self._take("."):
                self._need("name")
                if self._take("("):
                    self._list(")")
            elif self._take("["):
                self.expression()
                self._need("]")
            else:
                return

    def _primary(self) -> None:
        if self._take("("):
            self.expression()
            self._need(")")
        elif self._take("["):
            self._list("]")
        elif self._take("{"):
            self._entries()
        elif self._take("text", "number"):
            return
        else:
            self._take(".")
            if self._next() == "name" and self._tokens[self._at][1] in _RESERVED:
                raise _WrongError(f"{self._tokens[self._at][1]} is a reserved word")
            if not self._take("name"):
                raise _WrongError(f"a value is missing {self._where()}")
            if self._take("("):
                self._list(")")
            elif self._take("{"):
                self._entries()

    def _list(self, end: str) -> None:
        while not self._take(end):
            self.expression()
            if not self._take(","):
                self._need(end)
                return

    def _entries(self) -> None:
        while not self._take("}"):
            self.expression()
            self._need(":")
            self.expression()
            if not self._take(","):
                self._need("}")
                return
