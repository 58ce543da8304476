"""What can go wrong on a request's way, and how it is told to the caller.

    GatewayError                       status  code                     x-should-retry
    ├── CallerFault                            the caller must change something
    │   ├── BadKey                     401     invalid_api_key          false
    │   ├── Forbidden                  403     insufficient_scope, customer_not_allowed, ...
    │   ├── BudgetExhausted            402     budget_exceeded          false
    │   ├── BadRequest                 400     (says which field)       false
    │   ├── NotFound                   404     model_not_found, not_found
    │   ├── WrongMethod                405     method_not_allowed       false
    │   ├── SlowRequest                408     request_timeout          true
    │   ├── RequestFinished            409     request_finished         false
    │   ├── TooLarge                   413     request_too_large        false
    │   ├── IdempotencyMismatch        422     idempotency_mismatch     false
    │   └── HeadTooLarge               431     head_too_large           false
    ├── Misconfigured                  500     too_many_limits          false
    ├── TryLater                               nothing is wrong; come back
    │   ├── BudgetReserved             429     budget_reserved          true
    │   ├── RateLimited                429     rate_limit_exceeded      true
    │   ├── RequestInProgress          409     request_in_progress      true
    │   └── Unavailable                503     ledger_unavailable, draining
    └── UpstreamFault                          the provider failed us
        ├── UpstreamError              502     upstream_error           false
        └── UpstreamTimeout            504     upstream_timeout         false

The shape is OpenAI's: {"error": {"message", "type", "param", "code"}}; the official SDKs turn the status
into their own exception classes and obey `x-should-retry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

LEDGER_AWAY = "The ledger cannot be reached, and it must agree first; try again."


class GatewayError(Exception):
    """The gateway could not serve this request."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str] = "internal_error"
    should_retry: ClassVar[bool] = False
    details: Mapping[str, object] = MappingProxyType({})
    """More than the usual fields, for the error's object."""

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        self.message = message or (self.__doc__ or "").split("\n", 1)[0]
        super().__init__(self.message)
        self.code = code or self.default_code
        self.param = param
        self.retry_after_s = retry_after_s


class CallerFault(GatewayError):
    """The request cannot be served as it is."""

    status = 400
    type = "invalid_request_error"
    default_code = "invalid_request"


class BadKey(CallerFault):
    """No valid Tollkeeper key was given: send `Authorization: Bearer obs_...`."""

    status = 401
    type = "authentication_error"
    default_code = "invalid_api_key"


class Forbidden(CallerFault):
    """This key may not do that."""

    status = 403
    type = "permission_error"
    default_code = "insufficient_scope"


class BudgetExhausted(CallerFault):
    """A budget that applies to this request is used up."""

    status = 402
    type = "insufficient_quota"
    default_code = "budget_exceeded"


class BadRequest(CallerFault):
    """The request's body or headers are not usable."""


class NotFound(CallerFault):
    """There is nothing at this address."""

    status = 404
    default_code = "not_found"


class WrongMethod(CallerFault):
    """This address answers to another method."""

    status = 405
    default_code = "method_not_allowed"


class RequestFinished(CallerFault):
    """A request with this idempotency key has ended; `details` tell how."""

    status = 409
    default_code = "request_finished"

    def __init__(self, request_id: str, status: str, cost_usd: str | None) -> None:
        told = f"it cost ${cost_usd}" if cost_usd is not None else "its cost is in its event"
        super().__init__(
            f"The request {request_id} with this Idempotency-Key has ended ({status}; {told}). Its answer is "
            "not kept; send another key to run it again.",
            param="Idempotency-Key",
        )
        self.details = {"request": {"id": request_id, "status": status, "cost_usd": cost_usd}}


class IdempotencyMismatch(CallerFault):
    """The idempotency key was used with another body."""

    status = 422
    default_code = "idempotency_mismatch"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"This Idempotency-Key was used for another body, by the request {request_id}; send another key.",
            param="Idempotency-Key",
        )
        self.details = {"request": {"id": request_id}}


class TooLarge(CallerFault):
    """The request's body is larger than this gateway accepts."""

    status = 413
    default_code = "request_too_large"


class HeadTooLarge(CallerFault):
    """The request's head is larger than this gateway accepts."""

    status = 431
    default_code = "head_too_large"


class SlowRequest(CallerFault):
    """The request did not arrive in time."""

    status = 408
    default_code = "request_timeout"
    should_retry = True


class Misconfigured(GatewayError):
    """The gateway is configured so that it cannot serve this."""

    default_code = "misconfigured"


class TryLater(GatewayError):
    """Nothing is wrong with the request; it can be served later."""

    status = 503
    should_retry = True

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = 1,
    ) -> None:
        super().__init__(message, code=code, param=param, retry_after_s=retry_after_s)


class BudgetReserved(TryLater):
    """The rest of the budget is held by requests that are still running."""

    status = 429
    type = "requests"
    default_code = "budget_reserved"


class RateLimited(TryLater):
    """Too many requests or tokens in too short a time."""

    status = 429
    type = "requests"
    default_code = "rate_limit_exceeded"


class RequestInProgress(TryLater):
    """A request with this idempotency key is running."""

    status = 409
    type = "invalid_request_error"
    default_code = "request_in_progress"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"The request {request_id} with this Idempotency-Key is running.", param="Idempotency-Key"
        )
        self.details = {"request": {"id": request_id, "status": "open"}}


class Unavailable(TryLater):
    """The gateway cannot take requests at the moment."""

    default_code = "ledger_unavailable"


class UpstreamFault(GatewayError):
    """The provider did not answer as it should."""

    status = 502
    type = "upstream_error"
    default_code = "upstream_error"


class UpstreamError(UpstreamFault):
    """The provider failed; nothing is wrong with the request."""


class UpstreamTimeout(UpstreamFault):
    """The provider did not answer in time."""

    status = 504
    default_code = "upstream_timeout"
