import pytest

from routing.outcome import Failure, Verdict, after_failure, after_status


@pytest.mark.parametrize("status", [200, 201, 206])
def test_success_is_done(status: int) -> None:
    assert after_status(status) is Verdict.DONE


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529, 401, 403])
def test_what_was_surely_not_billed_may_be_tried_elsewhere(status: int) -> None:
    assert after_status(status) is Verdict.NEXT


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_the_caller_must_mend_goes_back_to_the_caller(status: int) -> None:
    assert after_status(status) is Verdict.CALLERS_FAULT


@pytest.mark.parametrize("status", [301, 302, 307, 100])
def test_redirects_are_never_followed(status: int) -> None:
    assert after_status(status) is Verdict.GIVE_UP


def test_only_an_attempt_that_was_never_sent_is_followed_by_another() -> None:
    assert {failure: after_failure(failure) for failure in Failure} == {
        Failure.NOT_SENT: Verdict.NEXT,
        Failure.LOST: Verdict.GIVE_UP,
        Failure.TIMEOUT: Verdict.GIVE_UP,
    }
