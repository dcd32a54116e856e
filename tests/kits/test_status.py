"""twinveil status with a kit: it asks the kit's own role, too, where that listens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from twinveil.cli.main import main
from twinveil.kits.project import Project
from twinveil.preflight.kit import open_kit
from twinveil.services.status import Facts, StatusServicer
from twinveil.transport.server import ServerSettings, start
from twinveil.verbs.status import RoleStatus, _facts


@pytest.mark.parametrize("kit", ["user-alice", "owner", "cloud_s2"])
@pytest.mark.parametrize("everywhere", [False, True])
def test_a_kit_s_own_role_is_asked(
    kits: Path,
    project: Project,
    kit: str,
    everywhere: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, member = kits / kit / "config.toml", project.members[kit]
    if everywhere:
        config.write_text(config.read_text().replace(f'listen = "{member.host}', 'listen = "0.0.0.0'))
    tls = open_kit(kits / kit).settings.credentials()
    server = start(
        ServerSettings(member.role, member.address, tls),
        [StatusServicer(member.role, lambda: Facts(arithmetic="ifma"))],
    )
    try:
        monkeypatch.setenv("TWINVEIL_CONNECT_WAIT", "500ms")
        monkeypatch.setattr("sys.argv", ["twinveil", "status", "--config", str(config), "--json"])
        with pytest.raises(SystemExit):
            main()
    finally:
        server.stop(0)
    answers = {each["role"]: each for each in json.loads(capsys.readouterr().out)}
    assert {role for role, each in answers.items() if not each["error"]} == {member.role}
    assert answers[member.role]["address"] == member.address
    assert answers[member.role]["arithmetic"] == "ifma"
    assert "arithmetic ifma" in _facts(RoleStatus(**answers[member.role]))
    assert "arithmetic" not in _facts(RoleStatus(member.role, member.address))
