"""What is asked of customers: the bodies and queries of their endpoints."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from gateway.api.fields import Asked, Label, OwnName, Paged
from gateway.api.groupfigures import FiguresAsked

COUNTED_MAX = 10_000
Mail = Annotated[str, Field(max_length=254, pattern=r"^([^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+)?$")]
Address = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x09\x0b-\x1f\x7f]*$")]
"""May have several lines."""


class CustomersAsked(Paged, FiguresAsked):
    """A part of the list, by id."""

    offset: Annotated[
        int, Field(ge=0, le=COUNTED_MAX, description="Instead of a cursor, for short lists")
    ] = 0
    archived: bool = False

    @model_validator(mode="after")
    def one_way_to_a_page(self) -> CustomersAsked:
        if self.cursor is not None and self.offset:
            raise ValueError("send a cursor or an offset, not both")
        return self


class NewCustomer(Asked):
    """A customer to be recorded."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"customer_id": "acme", "name": "Acme", "email": "ada@acme.example"}]}
    )

    customer_id: OwnName
    name: Label = ""
    email: Mail = ""
    first_name: Label = ""
    last_name: Label = ""
    phone: Label = ""
    address: Address = ""
    stripe_customer_id: Label = ""
    is_internal: bool = False


class CustomerChange(Asked):
    """What is not told stays; an empty text takes it away."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Acme Inc.", "archived": False}]})

    name: Label | None = None
    email: Mail | None = None
    first_name: Label | None = None
    last_name: Label | None = None
    phone: Label | None = None
    address: Address | None = None
    stripe_customer_id: Label | None = None
    is_internal: bool | None = None
    archived: Annotated[
        bool | None, Field(description="Lists leave it out; its requests are served and counted as before")
    ] = None


class InternalAsked(Asked):
    """Whether it is the operator's own use."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"is_internal": True}]})

    is_internal: bool
