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


def test_a_made_up_model_shares_the_health_of_all_such_models_of_its_provider() -> None:
    made_up, offered = TABLE.find("a/vendor/unlisted"), TABLE.find("gpt")
    assert made_up is not None
    assert offered is not None
    assert (made_up.targets[0].name, offered.targets[0].name) == ("a/*", "a/gpt")


def test_a_routers_suffix_names_the_price_list() -> None:
    table = RouteTable([], {"hf": ("huggingface_{suffix}", [])})
    route = table.find("hf/openai/gpt-oss-20b:groq")
    assert route is not None
    (target,) = route.targets
    assert (target.model, target.prices, target.priced_as) == (
        "openai/gpt-oss-20b:groq",
        "huggingface_groq",
        "openai/gpt-oss-20b",
    )
    bare = table.find("hf/openai/gpt-oss-20b")
    assert bare is not None
    assert bare.targets[0].prices == "huggingface_"


def test_a_name_that_several_offer_knows_those_after_the_first() -> None:
    route, alone = TABLE.find("both"), TABLE.find("small")
    assert route is not None
    assert route.others == (Target("b", "both", "b"),)
    assert alone is not None
    assert alone.others == ()
