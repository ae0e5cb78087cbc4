"""The page of legal holds, and the forms on it."""

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from kubernaut.api.lifecycle import PlaceHold, ReleaseHold
from kubernaut.api.problems import Slug
from kubernaut.datastorage.actor import USER_HEADER, actor_of, checked_actor
from kubernaut.datastorage.legal_holds import AlreadyHeld, LegalHolds, UnknownCorrelation
from kubernaut.datastorage.lifecycle_endpoints import checked
from kubernaut.datastorage.web.holds_view import HoldForm, holds_url, holds_view
from kubernaut.datastorage.web.rendering import page
from kubernaut.datastorage.web.sign_in import read_form
from kubernaut.ops.http.authentication import Authenticator, CannotAuthenticate, Permission
from kubernaut.ops.http.problems import RequestRejected


class HoldPages:
    """The routes over the holds of one database."""

    def __init__(self, holds: LegalHolds, authenticator: Authenticator | None) -> None:
        self._holds = holds
        self._authenticator = authenticator

    def routes(self) -> list[Route]:
        """Below the prefix of the pages."""
        return [
            Route("/holds", self.holds, methods=["GET", "POST"]),
            Route("/holds/release", self.release, methods=["POST"]),
        ]

    async def holds(self, request: Request) -> Response:
        """Every hold in force, or one more."""
        if request.method == "POST":
            return await self.place(request)
        correlation_id = request.query_params.get("correlation_id", "")
        form = HoldForm(correlation_id=correlation_id, is_given=bool(correlation_id))
        return await self._page(request, form, changed=request.query_params.get("changed", ""))

    async def place(self, request: Request) -> Response:
        """Hold a correlation."""
        given = await read_form(request)
        in_address = request.query_params.get("correlation_id", "")
        wanted = {"correlation_id": in_address or given.get("correlation_id", ""), "reason": given.get("reason", "")}
        form = HoldForm(**wanted, is_given=bool(in_address))
        try:
            actor = self._actor(request, given)
            order = checked(msgspec.convert(wanted, type=PlaceHold))
            await self._holds.place(order.correlation_id, order.reason, actor)
        except (RequestRejected, msgspec.ValidationError, UnknownCorrelation, AlreadyHeld) as error:
            return await self._page(request, form, problem=error)
        return RedirectResponse(holds_url(changed=order.correlation_id), 303)

    async def release(self, request: Request) -> Response:
        """End the hold on a correlation."""
        given = await read_form(request)
        correlation_id = request.query_params.get("correlation_id", "")
        try:
            actor = self._actor(request, given)
            order = checked(msgspec.convert({"release_reason": given.get("release_reason", "")}, type=ReleaseHold))
            await self._holds.release(correlation_id, order.release_reason, actor)
        except (RequestRejected, msgspec.ValidationError, UnknownCorrelation) as error:
            return await self._page(request, HoldForm(), problem=error)
        return RedirectResponse(holds_url(changed=correlation_id), 303)

    async def _page(
        self, request: Request, form: HoldForm, *, changed: str = "", problem: Exception | None = None
    ) -> Response:
        status = 200
        if problem is not None:
            slug = _slug_of(problem)
            status, request.state.rejected = slug.status, slug
        view = holds_view(
            await self._holds.active(),
            form,
            changed=changed,
            denial=await self._denial(request),
            asks_for_name=self._asks_for_name(request),
        )
        return page(request, "holds.html", status=status, view=view, problem=str(problem or ""))

    async def _denial(self, request: Request) -> str:
        """Why the person may not place or release; empty when they may, or nobody can tell now."""
        identity = getattr(request.state, "identity", None)
        if self._authenticator is None or identity is None:
            return ""
        try:
            return await self._authenticator.denial(identity, Permission.OPERATE) or ""
        except CannotAuthenticate:
            return ""  # whoever sends the form is asked again

    def _asks_for_name(self, request: Request) -> bool:
        return self._authenticator is None and not request.headers.get(USER_HEADER, "").strip()

    def _actor(self, request: Request, given: dict[str, str]) -> str:
        """Under whose name it is recorded. Raises RequestRejected."""
        if self._asks_for_name(request):
            return checked_actor(given.get("name", "").strip(), "Your name")
        return actor_of(request)


def _slug_of(error: Exception) -> Slug:
    match error:
        case RequestRejected():
            return error.slug
        case UnknownCorrelation():
            return Slug.NOT_FOUND
        case AlreadyHeld():
            return Slug.CONFLICT
    return Slug.VALIDATION
