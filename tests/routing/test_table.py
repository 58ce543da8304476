from routing.table import Route, RouteTable
from routing.target import Target

TABLE = RouteTable(
    [Route("fast", (Target("b", "small", "b"), Target("a", "gpt", "openai")))],
    {"a": ("openai", ["gpt", "both"]), "b": ("b", ["small", "both"])},
)


def test_a_configured_route_comes_before_what_providers_offer() -> None:
    table = RouteTable([Route("gpt", (Target("b", "other", "b"),))], {"a": ("openai", ["gpt"])})
    route = table.find("gpt")
    assert route is not None
    assert route.targets[0].model == "other"


def test_the_provider_configured_first_serves_a_name_that_two_offer() -> None:
    route = TABLE.find("both")
    assert route is not None
    assert route.targets == (Target("a", "both", "openai"),)


def test_a_qualified_name_reaches_any_model_of_a_configured_provider() -> None:
    route = TABLE.find("a/vendor/unlisted")
    assert route is not None
    assert route.targets == (Target("a", "vendor/unlisted", "openai"),)
    assert not TABLE.known("a/vendor/unlisted")


def test_what_nothing_serves_has_no_route() -> None:
    assert TABLE.find("nope") is None
    assert TABLE.find("c/model") is None
    assert TABLE.find("a/") is None


def test_every_name_is_listed_once_with_the_provider_that_serves_it() -> None:
    assert TABLE.names() == [("both", "a"), ("fast", "b"), ("gpt", "a"), ("small", "b")]
