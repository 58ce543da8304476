import json

import pytest
import structlog

from gateway.serve.logs import configure_logs

log = structlog.get_logger("tests")


def test_a_later_setting_holds_for_a_logger_that_spoke_before(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    log.info("heard")
    configure_logs("warning")
    log.info("not heard")
    log.warning("heard again")
    heard = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert heard == ["heard", "heard again"]
    structlog.reset_defaults()
    log.info("as a program that set up nothing")
    assert "as a program that set up nothing" in capsys.readouterr().out
