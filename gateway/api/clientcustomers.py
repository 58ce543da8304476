"""Customers as the platform paths ask for them: in camelCase, by their reference.

POST  /api/v1/client/customers              record one
GET   /api/v1/client/customers/{customer}   one with its subscriptions
PATCH /api/v1/client/customers/{customer}   what is known of it
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from accounts.customer import Customer
from accounts.profile import Profile, is_internal
from gateway.api.clientsubscriptions import ClientSubscription, client_subscription
from gateway.api.customermodels import Address, Mail
from gateway.api.customerrecord import alter, profiles, record, recorded
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import AskedCamel, Label, MomentText, OwnName, ToldCamel, moment_text
from gateway.api.subscribing import described
from gateway.errors import BadRequest, NotFound

TAG = "customers"
READ, WRITE = "customers.read", "customers.write"


class NewClientCustomer(AskedCamel):
    """A customer to be recorded, by the reference that the application has for it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customerReferenceId": "user_42",
                    "email": "ada@example.com",
                    "firstName": "Ada",
                    "lastName": "Lovelace",
                }
            ]
        }
    )

    customer_reference_id: OwnName | None = None
    external_client_customer_id: Annotated[
        OwnName | None, Field(description="An older name of customerReferenceId")
    ] = None
    email: Annotated[Mail, Field(min_length=3)]
    name: Label = ""
    first_name: Label = ""
    last_name: Label = ""
    phone_number: Label = ""
    address: Address = ""

    @model_validator(mode="after")
    def one_reference(self) -> NewClientCustomer:
        if (self.customer_reference_id is None) == (self.external_client_customer_id is None):
            raise ValueError("send customerReferenceId")
        return self

    @property
    def reference(self) -> str:
        """What the customer is called."""
        return self.customer_reference_id or self.external_client_customer_id or ""


class ClientCustomerChange(AskedCamel):
    """What is not told stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"firstName": "Augusta"}]})

    email: Annotated[Mail, Field(min_length=3)] | None = None
    name: Label | None = None
    first_name: Label | None = None
    last_name: Label | None = None
    phone_number: Label | None = None
    address: Address | None = None


class ClientCustomer(ToldCamel):
    """A customer with its subscriptions."""

    id: str
    customer_reference_id: str
    email: str
    name: str
    first_name: str
    last_name: str
    phone_number: str
    address: str
    is_internal: bool
    created_at: MomentText
    subscriptions: list[ClientSubscription]


def add_client_customer(call: Call) -> ClientCustomer:
    """Record a customer."""
    asked: NewClientCustomer = call.body
    profile = Profile(
        email=asked.email,
        first_name=asked.first_name,
        last_name=asked.last_name,
        phone=asked.phone_number,
        address=asked.address,
    )
    return _told(call, record(call, asked.reference, asked.name, profile))


def show_client_customer(call: Call) -> ClientCustomer:
    """One customer."""
    return _told(call, own_customer(call))


def change_client_customer(call: Call) -> ClientCustomer:
    """What is known of a customer."""
    asked: ClientCustomerChange = call.body
    if not asked.model_fields_set:
        raise BadRequest("Nothing to change was told.")
    changes = {
        "email": asked.email,
        "first_name": asked.first_name,
        "last_name": asked.last_name,
        "phone": asked.phone_number,
        "address": asked.address,
    }
    alter(call, call.path["customer"], asked.name, changes)
    return _told(call, own_customer(call))


def own_customer(call: Call) -> Customer:
    """The customer of the path; of a bound key only its own."""
    name = call.path["customer"]
    found = recorded(call, name) if call.bound_customer in (None, name) else None
    if found is None:
        raise NotFound("No such customer.")
    return found


def _told(call: Call, customer: Customer) -> ClientCustomer:
    profile = profiles(call).profile(customer.customer)
    return ClientCustomer(
        id=customer.customer,
        customer_reference_id=customer.customer,
        email=profile.email,
        name=customer.name,
        first_name=profile.first_name,
        last_name=profile.last_name,
        phone_number=profile.phone,
        address=profile.address,
        is_internal=is_internal(customer.customer, profile),
        created_at=str(moment_text(customer.created_ms)),
        subscriptions=[
            client_subscription(described(call, customer, each)) for each in customer.subscriptions
        ],
    )


CLIENT_CUSTOMERS = (
    Endpoint(
        method="POST",
        path="/api/v1/client/customers",
        scope=WRITE,
        summary="Record a customer",
        tag=TAG,
        handler=add_client_customer,
        body=NewClientCustomer,
        answer=ClientCustomer,
        status=201,
        refusals={409: "It is recorded already"},
        writes=True,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/client/customers/{customer}",
        scope=READ,
        summary="One customer with its subscriptions",
        tag=TAG,
        handler=show_client_customer,
        answer=ClientCustomer,
    ),
    Endpoint(
        method="PATCH",
        path="/api/v1/client/customers/{customer}",
        scope=WRITE,
        summary="Change what is known of a customer",
        tag=TAG,
        handler=change_client_customer,
        body=ClientCustomerChange,
        answer=ClientCustomer,
        writes=True,
    ),
)
