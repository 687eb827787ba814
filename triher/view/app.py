"""What the server answers: the page, the list, one patient, and her images. Patients are named by position."""

import json
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from triher.view.answers import about, listing, pictures, thumbnail
from triher.view.cases import Case
from triher.view.guard import Guard, Session
from triher.view.viewed import Viewed

_KINDS = {"index.html": "text/html", "view.css": "text/css", "view.js": "text/javascript"}
_DIGITS = 9  # Python refuses to read numbers of thousands of digits


def make_app(viewed: Viewed, session: Session) -> Guard:
    """The guarded program of one run."""

    def page(_: Request) -> Response:
        return _file("index.html")

    def static(request: Request) -> Response:
        return _file(request.path_params["name"])

    def cases(_: Request) -> Response:
        return _json(listing(viewed))

    def case(request: Request) -> Response:
        return _json(about(viewed, _asked(viewed, request)))

    def images(request: Request) -> Response:
        return _answer(pictures(viewed, _asked(viewed, request)))

    def small(request: Request) -> Response:
        return _answer(thumbnail(viewed, _asked(viewed, request)))

    routes = [
        Route("/", page),
        Route("/static/{name}", static),
        Route("/cases", cases),
        Route("/cases/{position}", case),
        Route("/cases/{position}/pictures", images),
        Route("/cases/{position}/thumbnail", small),
    ]
    return Guard(Starlette(routes=routes), session)


def _asked(viewed: Viewed, request: Request) -> Case:
    """The case at the position in the address."""
    text = request.path_params["position"]
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS and int(text) < len(viewed.cases)):
        raise HTTPException(404)
    return viewed.cases[int(text)]


def _file(name: str) -> Response:
    """A file of the page."""
    if name not in _KINDS:
        raise HTTPException(404)
    return Response(files("triher.view").joinpath("static", name).read_bytes(), media_type=_KINDS[name])


def _json(value: Any) -> Response:  # noqa: ANN401 - any JSON value
    """JSON; NaN would be none."""
    return Response(json.dumps(value, allow_nan=False), media_type="application/json")


def _answer(found: bytes | str) -> Response:
    """Arrays, or the reason why there are none."""
    if isinstance(found, str):
        return _json({"why": found})
    return Response(found, media_type="application/octet-stream")
