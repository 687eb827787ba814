"""Who may ask the page's server: this machine's browser with the session's token, and nobody else.

A page on another site can make a browser send requests to 127.0.0.1, and can give its own name that address (DNS
rebinding). So every request must name this very host and port, must not come from another site, and must carry the
token that only the printed address has. See W3C Fetch Metadata, and RFC 9110 section 15.5.20 for 421.
"""

import hmac
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""Of every answer."""
_METHODS = ("GET", "HEAD")


@dataclass(frozen=True)
class Session:
    """One run of the server."""

    port: int
    token: str
    once: set[str] = field(default_factory=set)
    """Further tokens, each of which opens the page a single time: for an address that others can read."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """What the header Host may say."""
        return tuple(f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]"))

    @property
    def cookie(self) -> str:
        """Name of the cookie; with the port, because cookies of one host are shared by all of its ports."""
        return f"triher_view_{self.port}"

    def has_token(self, text: str) -> bool:
        """Whether a text is the token; takes equally long for every wrong one."""
        return hmac.compare_digest(text.encode(), self.token.encode())

    def opens(self, text: str) -> bool:
        """Whether a text of the address opens the page; a token for one time is spent by that."""
        spent = [token for token in self.once if hmac.compare_digest(text.encode(), token.encode())]
        self.once.difference_update(spent)
        return bool(spent) or self.has_token(text)


def refusal(session: Session, method: str, path: str, query: str, headers: Headers) -> tuple[int, str] | None:
    """Status and reason, where a request is to be refused.

    The page itself may be opened from anywhere by whoever has the token: a link in a terminal is such a place.
    """
    if headers.get("host", "").lower() not in session.hosts:
        return 421, "this server answers only to its own address on this machine"
    if method not in _METHODS:
        return 405, "nothing can be written here"
    opens = path == "/" and session.opens(QueryParams(query).get("token", ""))
    if not opens and _is_foreign(session, headers):
        return 403, "requests of other pages are refused"
    if not opens and not session.has_token(_cookie(session, headers)):
        return 403, "open the address that 'triher view' has printed: it holds this session's token"
    return None


def _is_foreign(session: Session, headers: Headers) -> bool:
    """Whether a page of another origin asks; browsers say so, other programs say nothing."""
    origin = headers.get("origin")
    own = [f"http://{host}" for host in session.hosts]
    return (origin is not None and origin.lower() not in own) or headers.get("sec-fetch-site", "none") not in {
        "none",
        "same-origin",
    }


def _cookie(session: Session, headers: Headers) -> str:
    """The token that the browser has kept."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(session.cookie)
    except CookieError:
        return ""
    return found.value if found else ""


@dataclass(frozen=True)
class Guard:
    """Refuses what `refusal` refuses, and gives every answer its headers."""

    app: ASGIApp
    session: Session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the page's program answer."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        query = scope["query_string"].decode("latin-1")
        refused = refusal(self.session, scope["method"], scope["path"], query, headers)
        opens = refused is None and scope["path"] == "/"

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                out.update(HEADERS)
                if opens:
                    kept = f"{self.session.cookie}={self.session.token}; HttpOnly; SameSite=Strict; Path=/"
                    out.append("set-cookie", kept)
            await send(message)

        answer = self.app if refused is None else PlainTextResponse(f"{refused[1]}\n", refused[0])
        await answer(scope, receive, send_guarded)
