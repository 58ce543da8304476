"""Workspaces: spaces inside a customer, by the names that requests give.

GET   /api/customers/{customer}/workspaces               a page of them
POST  /api/customers/{customer}/workspaces               record one
GET   /api/customers/{customer}/workspaces/{workspace}   one
PATCH /api/customers/{customer}/workspaces/{workspace}   its name; archive it, or take it back

Requests may name workspaces that nobody has recorded; limits on them count all the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import ConfigDict, Field

from accounts.plantables import PlanNotFound
from accounts.profile import Workspace
from accounts.profilebook import WorkspaceExists
from accounts.publishing import wall_ms
from gateway.api.answers import Conflict
from gateway.api.customerrecord import profiles, recorded
from gateway.api.customers import READ, TAG, WRITE
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import Asked, Label, MomentText, OwnName, Paged, Told, moment_text
from gateway.api.refusing import name_after, page_of
from gateway.errors import BadRequest, NotFound


class WorkspacesAsked(Paged):
    """A part of the list, by name."""

    archived: bool = False


class NewWorkspace(Asked):
    """A workspace to be recorded."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"workspace": "eu", "name": "Europe"}]})

    workspace: OwnName
    name: Label = ""


class WorkspaceChange(Asked):
    """What is not told stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Europe and Africa"}]})

    name: Label | None = None
    archived: Annotated[bool | None, Field(description="Lists leave it out; requests are served")] = None


class WorkspaceTold(Told):
    """A space inside a customer."""

    customer_id: str
    workspace: str
    name: str
    created_at: MomentText
    archived_at: MomentText | None


class WorkspacesTold(Told):
    """A page of workspaces, by name."""

    workspaces: list[WorkspaceTold]
    next_cursor: str | None


def list_workspaces(call: Call) -> WorkspacesTold:
    """A page of a customer's workspaces."""
    asked: WorkspacesAsked = call.query
    customer = _customer(call)
    listed = ("workspaces", call.account_id, customer, asked.archived)
    after = name_after(listed, asked.cursor)
    found = profiles(call).workspaces(customer, after=after, limit=asked.limit + 1, archived=asked.archived)
    rows, following = page_of(listed, found, asked.limit, lambda each: (each.workspace,))
    return WorkspacesTold(workspaces=[_told(each) for each in rows], next_cursor=following)


def show_workspace(call: Call) -> WorkspaceTold:
    """One workspace."""
    return _told(_find(call))


def add_workspace(call: Call) -> WorkspaceTold:
    """Record a workspace."""
    asked: NewWorkspace = call.body
    made = Workspace(_customer(call), asked.workspace, asked.name, wall_ms())
    try:
        profiles(call).add_workspace(made)
    except WorkspaceExists:
        raise Conflict("This workspace is recorded already; change it.", code="already_exists") from None
    return _told(made)


def change_workspace(call: Call) -> WorkspaceTold:
    """A workspace's name, and whether it is archived."""
    asked: WorkspaceChange = call.body
    if not asked.model_fields_set:
        raise BadRequest("Nothing to change was told.")
    found = _find(call)
    archived_ms = found.archived_ms
    if asked.archived is not None and asked.archived is not (archived_ms is not None):
        archived_ms = wall_ms() if asked.archived else None
    changed = replace(found, name=found.name if asked.name is None else asked.name, archived_ms=archived_ms)
    profiles(call).change_workspace(changed)
    return _told(changed)


def _customer(call: Call) -> str:
    name = call.path["customer"]
    if recorded(call, name) is None:
        raise NotFound("No such customer.")
    return name


def _find(call: Call) -> Workspace:
    try:
        return profiles(call).workspace(_customer(call), call.path["workspace"])
    except PlanNotFound:
        raise NotFound("No such workspace.") from None


def _told(workspace: Workspace) -> WorkspaceTold:
    return WorkspaceTold(
        customer_id=workspace.customer,
        workspace=workspace.workspace,
        name=workspace.name,
        created_at=str(moment_text(workspace.created_ms)),
        archived_at=moment_text(workspace.archived_ms),
    )


_ALL = "/api/customers/{customer}/workspaces"
WORKSPACES = (
    Endpoint(
        method="GET",
        path=_ALL,
        scope=READ,
        summary="A customer's workspaces",
        tag=TAG,
        handler=list_workspaces,
        query=WorkspacesAsked,
        answer=WorkspacesTold,
    ),
    Endpoint(
        method="POST",
        path=_ALL,
        scope=WRITE,
        summary="Record a workspace",
        tag=TAG,
        handler=add_workspace,
        body=NewWorkspace,
        answer=WorkspaceTold,
        status=201,
        refusals={409: "It is recorded already"},
        writes=True,
    ),
    Endpoint(
        method="GET",
        path=f"{_ALL}/{{workspace}}",
        scope=READ,
        summary="One workspace",
        tag=TAG,
        handler=show_workspace,
        answer=WorkspaceTold,
    ),
    Endpoint(
        method="PATCH",
        path=f"{_ALL}/{{workspace}}",
        scope=WRITE,
        summary="Rename a workspace, or archive it",
        tag=TAG,
        handler=change_workspace,
        body=WorkspaceChange,
        answer=WorkspaceTold,
        writes=True,
    ),
)
