"""Upstream: one configured provider as the gateway speaks to it: addresses, credentials, habits,
transports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from gateway.credentials import Credential, credential_maker
from gateway.dialects import Exchange
from gateway.dialects.habits import Habits
from gateway.forwarding.healthboard import HealthBoard
from gateway.settings import CircuitSettings, KeySettings, ProviderSettings, RegionSettings
from gateway.transport import Origin, TransportOptions, build_transport
from gateway.transport.port import Answer, Headers, Timeouts, Transport
from routing.circuit import CircuitTerms, State
from routing.retrybudget import RetryBudget
from routing.target import Target

_MAX_COMPLETION_PRICES = frozenset({"openai", "azure"})
_PLACE = b"{model}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address with one credential.

    `paths`: operation (`Exchange.operation`) -> request target, perhaps with a place for the model.
    `headers`: what every request to it carries, the credential among them.
    `label`: tells it from the provider's other endpoints; "" where there is only one. `credential`: the place
    of its key on the health board, shared by all addresses that take this key. `identity`: what makes
    requests ours; `signs`: it must be asked for each, because it is not simply among `headers`.
    `price_region`: the region whose prices apply here, where it may have its own.
    """

    label: str
    transport: Transport
    paths: dict[str, bytes]
    headers: tuple[tuple[bytes, bytes], ...]
    weight: int
    credential: int
    authority: str
    identity: Credential
    signs: bool
    price_region: str | None = None
    places: dict[str, int] = field(default_factory=dict, compare=False)

    def redacted(self, words: bytes) -> bytes:
        """What the provider said of a request, without our credential: some repeat it in full."""
        return self.identity.redacted(words)

    def path(self, operation: str, model: str) -> bytes:
        """The request target of one operation."""
        found = self.paths[operation]
        return found.replace(_PLACE, quote(model, safe="").encode()) if _PLACE in found else found

    def path_below(self, operation: str, model: str, *names: str, query: bytes = b"") -> bytes:
        """The request target of something below an operation's own: a response that is kept, say."""
        path, _, own = self.path(operation, model).partition(b"?")
        path = b"/".join([path, *(quote(name, safe="").encode() for name in names)])
        query = b"&".join(filter(None, (own, query)))
        return path + b"?" + query if query else path


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider.

    `operations`: what it can be asked, and so the dialects that it speaks. `habits`: which fields of a
    request it takes and obeys; `adapts`: some requests must be fitted to them. `price_region`: one whose
    prices may apply; of several any, since they are alike.
    `only`: its endpoint, where there is one alone.
    """

    name: str
    prices: str
    endpoints: tuple[Endpoint, ...]
    only: Endpoint | None
    operations: frozenset[str]
    price_region: str | None
    timeouts: Timeouts
    habits: Habits
    adapts: bool
    include_usage: bool
    cancel_stops_billing: bool
    repeats: int
    base_s: float
    wait_max_s: float
    budget: RetryBudget
    circuit: CircuitTerms
    board: HealthBoard

    async def send(
        self,
        endpoint: Endpoint,
        call: Exchange,
        model: str,
        body: bytes,
        request_id: str,
        *,
        fresh: bool,
    ) -> Answer:
        """Send one attempt; raises TransportError where no answer's head arrives."""
        headers = [
            *endpoint.headers,
            (b"accept", call.stream_type if call.stream else b"application/json"),
            (b"x-client-request-id", request_id.encode()),
            *call.passed,
        ]
        target = endpoint.path(call.operation, model)
        if endpoint.signs:
            return await self._send_signed(endpoint, b"POST", target, headers, body, fresh=fresh)
        return await endpoint.transport.send(
            b"POST", target, headers, body, timeouts=self.timeouts, fresh=fresh
        )

    async def look(self, endpoint: Endpoint, method: bytes, target: bytes, request_id: str) -> Answer:
        """Ask about something that the provider keeps; raises TransportError as `send` does."""
        headers = [
            *endpoint.headers,
            (b"accept", b"application/json"),
            (b"x-client-request-id", request_id.encode()),
        ]
        if endpoint.signs:
            return await self._send_signed(endpoint, method, target, headers, b"", fresh=False)
        return await endpoint.transport.send(method, target, headers, b"", timeouts=self.timeouts)

    async def _send_signed(
        self, endpoint: Endpoint, method: bytes, target: bytes, headers: Headers, body: bytes, *, fresh: bool
    ) -> Answer:
        """The same with a credential that is made for this request, or fetched; CredentialFault is one of
        the TransportErrors."""
        identity = endpoint.identity
        headers += await identity.headers(method, endpoint.authority, target, headers, body)
        answer = await endpoint.transport.send(
            method, target, headers, body, timeouts=self.timeouts, fresh=fresh
        )
        if answer.status in (401, 403):
            identity.rejected()
        return answer

    def endpoint(self, label: str) -> Endpoint | None:
        """The endpoint with this label; None where none has it any more."""
        return next((each for each in self.endpoints if each.label == label), None)

    def place(self, endpoint: Endpoint, target: Target) -> int:
        """Where the board keeps how `target` does at this endpoint."""
        found = endpoint.places.get(target.name)
        if found is None:
            name = f"{target.name}@{endpoint.label}" if endpoint.label else target.name
            found = endpoint.places[target.name] = self.board.place(name)
        return found

    def state(self, target: Target) -> State:
        """How the target stands: as well as its best endpoint does."""
        if self.only is not None:
            return self._state(self.only, target)
        states = {self._state(endpoint, target) for endpoint in self.endpoints}
        return next(state for state in (State.FREE, State.TRIAL, State.ASIDE) if state in states)

    def try_it(self, target: Target) -> bool:
        """Take the trial of one of its endpoints, if one is to be had."""
        return any(self.board.try_it(self.place(endpoint, target)) for endpoint in self.endpoints)

    def choose(self, target: Target, tried: Sequence[Endpoint], draw: Callable[[], float]) -> Endpoint | None:
        """The endpoint for the next attempt: drawn by weight among those that stand well and were not tried.

        One on trial is taken only with its trial. For the first attempt there always is an endpoint, for
        others None where all are tried or set aside.
        """
        if self.only is not None:
            return None if tried else self.only
        fresh = [endpoint for endpoint in self.endpoints if endpoint not in tried]
        states = [self._state(endpoint, target) for endpoint in fresh]
        well = [endpoint for endpoint, state in zip(fresh, states, strict=True) if state is not State.ASIDE]
        if well:
            found = _drawn(well, draw())
            on_trial = states[fresh.index(found)] is State.TRIAL
            if not on_trial or self.board.try_it(self.place(found, target)):
                return found
            well = [each for each, state in zip(fresh, states, strict=True) if state is State.FREE]
        if not well and tried:
            return None
        return _drawn(well or fresh, draw())

    def first_byte_s(self, target: Target, *, stream: bool) -> float | None:
        """The measured time to the first byte, at the quickest endpoint; None before the first answer."""
        board = self.board
        times = [board.first_byte_s(self.place(each, target), stream=stream) for each in self.endpoints]
        return min((time for time in times if time is not None), default=None)

    def _state(self, endpoint: Endpoint, target: Target) -> State:
        if not self.board.free(endpoint.credential) and self.board.state(endpoint.credential) is State.ASIDE:
            return State.ASIDE
        return self.board.state(self.place(endpoint, target))

    def start(self) -> None:
        """Begin to fetch what credentials must be fetched. For a running loop."""
        for endpoint in self.endpoints:
            endpoint.identity.start()

    async def aclose(self) -> None:
        """Close all connections, and fetch no credential any more."""
        for endpoint in self.endpoints:
            endpoint.identity.close()
        for transport in {id(each.transport): each.transport for each in self.endpoints}.values():
            await transport.aclose()


def _drawn(endpoints: Sequence[Endpoint], draw: float) -> Endpoint:
    at = draw * sum(endpoint.weight for endpoint in endpoints)
    for endpoint in endpoints:
        at -= endpoint.weight
        if at < 0:
            return endpoint
    return endpoints[-1]


def build_upstream(name: str, settings: ProviderSettings, *, version: str, board: HealthBoard) -> Upstream:
    """The upstream that the settings of one provider describe."""
    prices = settings.prices or name
    endpoints = _endpoints(name, settings, version, board)
    times, retries = settings.timeouts, settings.retries
    habits = _habits(settings, prices)
    return Upstream(
        name=name,
        prices=prices,
        endpoints=endpoints,
        only=endpoints[0] if len(endpoints) == 1 else None,
        operations=frozenset(endpoints[0].paths),
        price_region=next((each.price_region for each in endpoints if each.price_region), None),
        timeouts=Timeouts(
            connect_s=times.connect_s,
            first_byte_s=times.first_byte_s,
            idle_s=times.idle_s,
            total_s=times.total_s,
        ),
        habits=habits,
        adapts=not habits.plain,
        include_usage=settings.include_usage,
        cancel_stops_billing=settings.cancel_stops_billing,
        repeats=retries.attempts,
        base_s=retries.base_ms / 1_000,
        wait_max_s=retries.wait_max_s,
        budget=RetryBudget(retries.budget_percent),
        circuit=circuit_terms(settings.circuit),
        board=board,
    )


def circuit_terms(settings: CircuitSettings) -> CircuitTerms:
    """The circuit's terms in the pure table's words."""
    return CircuitTerms(
        settings.failures,
        settings.percent,
        round(settings.open_s * 1_000),
        round(max(settings.open_s, settings.open_max_s) * 1_000),
    )


def _habits(settings: ProviderSettings, prices: str) -> Habits:
    chosen = settings.maximum_field
    if chosen == "auto":
        chosen = "max_completion_tokens" if prices in _MAX_COMPLETION_PRICES else "max_tokens"
    obeyed = tuple(settings.maximum_fields)
    return Habits(
        maximum_field=chosen if chosen in obeyed else obeyed[0],
        maximum_fields=frozenset(obeyed),
        completion_only=tuple(settings.completion_only),
        dropped=frozenset(settings.dropped_fields),
    )


def _endpoints(
    name: str, settings: ProviderSettings, version: str, board: HealthBoard
) -> tuple[Endpoint, ...]:
    """Every address with every credential it takes."""
    common = [(b"content-type", b"application/json"), (b"user-agent", f"tollkeeper/{version}".encode())]
    shared: Sequence[KeySettings] = settings.api_keys or [
        KeySettings(api_key=settings.api_key, api_key_env=settings.api_key_env)
    ]
    regions: Sequence[RegionSettings] = settings.regions or [
        RegionSettings(base_url=settings.base_url, price_region=settings.price_region)
    ]
    several = len(regions) * len(shared) > 1 or any(region.secret for region in regions)
    credential_of = credential_maker(name, settings)
    found: list[Endpoint] = []
    for number, region in enumerate(regions):
        base = urlsplit(region.base_url)
        origin = f"{base.scheme}://{base.netloc}"
        transport = build_transport(
            TransportOptions(
                origin=origin,
                ca_bundle=settings.ca_bundle,
                client_certificate=settings.client_certificate,
                client_key=settings.client_key,
                max_connections=settings.max_connections,
                allow_private=settings.allow_private,
            ),
            settings.transport,
        )
        query = f"?api-version={settings.api_version}" if settings.api_version else ""
        paths = {name: _target(base.path, path, query) for name, path in settings.paths.items()}
        own = [region] if region.secret else shared
        for position, key in enumerate(own):
            label = f"{base.netloc}#{position + 1}" if several else ""
            owner = f"{number}." if region.secret else ""
            identity = credential_of(region.base_url, key.secret)
            found.append(
                Endpoint(
                    label=label,
                    transport=transport,
                    paths=paths,
                    headers=(*common, *(identity.fixed or ())),
                    weight=region.weight * key.weight if own is shared else region.weight,
                    credential=board.place(f"key:{name}#{owner}{position + 1}"),
                    authority=Origin.parse(origin).authority,
                    identity=identity,
                    signs=identity.fixed is None,
                    price_region=region.priced_in,
                )
            )
    return tuple(found)


def _target(base: str, path: str, query: str) -> bytes:
    """The request target of one path below an address; each `../` in front leaves one of its folders."""
    while path.startswith("../"):
        base, path = base.rpartition("/")[0], path[3:]
    joined = f"{base}/{path.lstrip('/')}"
    return (joined + (query.replace("?", "&") if "?" in joined else query)).encode()
