"""The payment page: a form, then fragments that htmx puts in its place. Everything comes from this machine.

The page answers loopback names only, and takes orders from itself only: a foreign page can neither read it
(no CORS, frame-ancestors 'none') nor post to it (HX-Request makes a browser ask first, and it is refused).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import jinja2  # noqa: F401  # FastAPI asks for these two later, and by errors of its own
import python_multipart  # noqa: F401
from fastapi import FastAPI, Form, HTTPException, Request, Response, UploadFile
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from twinveil.errors import BadConfiguration, TwinveilError
from twinveil.pictures.decoding import MAX_FILE_BYTES
from twinveil.start.extras import needs
from twinveil.values import whole
from user.sealing.captures import Camera, Pictures, Source
from user.sealing.orders import check_account_name, make_order
from user.sealing.page.payments import Payment, Payments

HERE = Path(__file__).parent
MOST_FILES = 10
MOST_UPLOAD = 64 << 20
HOSTS = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Next = Callable[[Request], Awaitable[Response]]


def make_app(payments: Payments, device: str, camera: Path | None = None) -> FastAPI:
    """camera: a folder with frames, in place of uploads. Raises BadConfiguration if htmx is not installed."""
    app = FastAPI(title="Twinveil", docs_url=None, redoc_url=None, openapi_url=None)
    templates = Jinja2Templates(HERE / "templates")
    script = htmx()
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")

    @app.middleware("http")
    async def guarded(request: Request, call_next: Next) -> Response:
        refusal = refused(request)
        response = PlainTextResponse(refusal, 403) if refusal else await call_next(request)
        for name, value in HEADERS.items():
            response.headers[name] = value
        return response

    def page(request: Request, template: str, status: int = 200, **values: object) -> HTMLResponse:
        return templates.TemplateResponse(
            request, template, {"device": device, "camera": camera, **values}, status_code=status
        )

    def fragment(request: Request, payment: Payment) -> HTMLResponse:
        with payment.lock:
            return page(request, f"{payment.state}.html", payment=payment)

    def found(number: str) -> Payment:
        payment = payments.find(number)
        if payment is None:
            raise HTTPException(404, "There is no such payment.")
        return payment

    @app.get("/htmx.js")
    def htmx_script() -> FileResponse:
        return FileResponse(script, media_type="text/javascript")

    @app.get("/")
    def start(request: Request) -> HTMLResponse:
        return page(request, "index.html", values={}, error="")

    @app.get("/form")
    def form(request: Request) -> HTMLResponse:
        return page(request, "form.html", values={}, error="")

    @app.post("/pay")
    def begin(
        request: Request,
        account: Annotated[str, Form()] = "",
        payee: Annotated[str, Form()] = "",
        amount: Annotated[str, Form()] = "",
        currency: Annotated[str, Form()] = "EUR",
        pictures: list[UploadFile] | None = None,
    ) -> HTMLResponse:
        values = {"account": account, "payee": payee, "amount": amount, "currency": currency}
        try:
            order = make_order(payee, amount.strip().replace(",", "."), currency)
            check_account_name(account)
            sources = _sources(pictures or [], camera)
            payment = payments.start(account, order, sources)
        except TwinveilError as error:
            text = str(error)
            return page(request, "form.html", values=values, error=text[:1].upper() + text[1:] + ".")
        return fragment(request, payment)

    @app.get("/payments/{number}")
    def show(request: Request, number: str) -> HTMLResponse:
        return fragment(request, found(number))

    @app.get("/payments/{number}/picture")
    def picture(number: str) -> Response:
        png = found(number).picture
        return Response(png, media_type="image/png") if png else Response(status_code=204)

    @app.post("/payments/{number}/again")
    def again(request: Request, number: str) -> HTMLResponse:
        payment = found(number)
        payments.again(payment)
        return fragment(request, payment)

    @app.get("/payments/{number}/password")
    def ask_password(request: Request, number: str) -> HTMLResponse:
        return page(request, "password.html", payment=found(number))

    @app.post("/payments/{number}/password")
    def password(request: Request, number: str, password: Annotated[str, Form()] = "") -> HTMLResponse:
        payment = found(number)
        if not 1 <= len(password.encode()) <= 256:
            return page(request, "password.html", payment=payment, error="Please type the password.")
        payments.password(payment, password)
        return fragment(request, payment)

    @app.post("/payments/{number}/cancel")
    def cancel(request: Request, number: str) -> HTMLResponse:
        payment = found(number)
        payments.cancel(payment)
        return fragment(request, payment)

    return app


def refused(request: Request) -> str | None:
    """Why a request is not this machine's own page's; None if it is."""
    host = request.headers.get("host", "")
    if host.rsplit(":", 1)[0] not in HOSTS and host not in HOSTS:
        return "This page answers on loopback only."
    if request.method not in ("GET", "HEAD"):
        origin = request.headers.get("origin")
        if request.headers.get("hx-request") != "true" or (origin is not None and origin != f"http://{host}"):
            return "Orders come from this page only."
        with suppress(ValueError):
            if 0 <= whole(request.headers.get("content-length", "")) <= MOST_UPLOAD:
                return None
        return "That is too much for one payment."
    return None


def htmx() -> Path:
    """htmx as the installed package js_lib_htmx ships it; the package itself is never imported."""
    found = importlib.util.find_spec("js_lib_htmx")
    for place in (found.submodule_search_locations or ()) if found else ():
        path = Path(place) / "static" / "htmx" / "htmx.min.js"
        if path.is_file():
            return path
    raise BadConfiguration(needs("the payment page", "js_lib_htmx"))


def _sources(pictures: list[UploadFile], camera: Path | None) -> Callable[[], Source]:
    if camera is not None:
        return lambda: Camera(camera)
    contents: list[Path | bytes] = [
        file.file.read(MAX_FILE_BYTES) for file in pictures[:MOST_FILES] if file.filename
    ]
    if not contents:
        raise BadConfiguration("choose at least one picture")
    return lambda: Pictures(contents)
