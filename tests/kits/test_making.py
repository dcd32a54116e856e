"""Kits: whole, private, never overwritten; and a project file that is wrong is refused in one line."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from twinveil.errors import BadConfiguration
from twinveil.kits.making import make_kits, renew
from twinveil.kits.project import EVERYWHERE, Project, read_project
from twinveil.kits.texts import settings_of
from twinveil.preflight.kit import KINDS, open_kit
from twinveil.start.config import settle
from twinveil.start.settings import EVERY_SETTING, CallerSettings
from twinveil.transport.certificates import load_authority, make_authority, save_authority
from twinveil.transport.credentials import TlsFiles, read

from .conftest import PROJECT

pytestmark = pytest.mark.slow

KITS = {
    "owner": "owner",
    "cloud_s1": "cloud_s1",
    "cloud_s2": "cloud_s2",
    "user-alice": "user",
    "user-bob": "user",
}
PRINT = "ab" * 32
OTHER = "cd" * 32


def certificate(kit: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((kit / "tls" / "certificate.pem").read_bytes())


def names(kit: Path) -> x509.SubjectAlternativeName:
    return certificate(kit).extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def contents(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kit", KITS)
def test_a_kit_is_what_its_role_reads(kits: Path, kit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")  # paths in it are relative to the kit
    role = KITS[kit]
    config = kits / kit / "config.toml"
    settings = settle(KINDS[role], role, {"config": str(config)}, {}, EVERY_SETTING)
    tls = settings.credentials()
    assert tls == TlsFiles.in_folder(kits / kit / "tls")
    read(tls)
    assert settings.state == kits / kit / "state"
    assert open_kit(kits / kit).role == role
    assert (
        settle(CallerSettings, "user", {"config": str(config)}, {}, EVERY_SETTING).tls == kits / kit / "tls"
    )
    shown = (kits / kit / "README.md").read_text()
    assert "    twinveil preflight .\n    twinveil " in shown
    assert "--config config.toml" in shown


def test_addresses_are_those_of_the_project(kits: Path, project: Project) -> None:
    user = open_kit(kits / "user-alice").settings
    for role in ("owner", "cloud_s1", "cloud_s2"):
        assert getattr(user, role) == project.members[role].address
    assert user.listen == project.members["user-alice"].listen


@pytest.mark.parametrize("kit", KITS)
def test_the_certificate_names_role_instance_and_hosts(kits: Path, project: Project, kit: str) -> None:
    member = project.members[kit]
    assert names(kits / kit).get_values_for_type(x509.UniformResourceIdentifier) == [
        f"twinveil://{KITS[kit]}/{member.name}"
    ]
    certificate(kits / kit).verify_directly_issued_by(
        x509.load_pem_x509_certificate((kits / "authority" / "authority.pem").read_bytes())
    )


def test_more_names_go_into_the_certificate(kits: Path) -> None:
    assert "s1.example.org" in names(kits / "cloud_s1").get_values_for_type(x509.DNSName)
    addresses = [str(each) for each in names(kits / "cloud_s1").get_values_for_type(x509.IPAddress)]
    assert addresses == ["127.0.0.1", "10.0.0.7"]


def test_keys_are_private(kits: Path) -> None:
    keys = sorted(kits.rglob("key.pem"))
    assert len(keys) == len(KITS) + 1
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in kits.iterdir()} == {0o700}
    assert not any("authority" in path.name and path.suffix == ".key" for path in kits.rglob("*"))
    assert not list(kits.rglob(".*"))


def test_a_kit_asks_for_a_key_size_only_where_the_project_does(kits: Path, tmp_path: Path) -> None:
    """A kit of old may say 2048, and so do its key and its models, whatever new keys have by now."""
    file = tmp_path / "silent.toml"
    file.write_text((tmp_path / "project.toml").read_text().replace("key_bits = 512\n", ""))
    silent = read_project(file)
    assert settings_of(kits / "cloud_s2" / "config.toml")["key_bits"] == 512
    make_kits(silent, tmp_path / "new")
    assert "key_bits" not in settings_of(tmp_path / "new" / "cloud_s2" / "config.toml")
    assert {each.what for each in make_kits(silent, kits)} == {"kept as it is"}


def test_nothing_is_overwritten(kits: Path, project: Project) -> None:
    before = contents(kits)
    made = make_kits(project, kits)
    assert {each.what for each in made} == {"kept as it is"}
    assert contents(kits) == before


def test_a_new_user_gets_a_kit_and_the_others_stay(kits: Path, tmp_path: Path) -> None:
    before = contents(kits)
    file = tmp_path / "project.toml"
    file.write_text(file.read_text() + "[users.carol]\n")
    made = make_kits(read_project(file), kits)
    assert [each.kit for each in made if each.what == "made"] == ["user-carol"]
    after = contents(kits)
    assert {path: after[path] for path in before} == before


def test_a_link_that_leads_nowhere_is_no_place_for_a_kit(project: Project, tmp_path: Path) -> None:
    root = tmp_path / "kits"
    root.mkdir()
    (root / "owner").symlink_to("nowhere")
    with pytest.raises(BadConfiguration, match=r"owner/config\.toml: No such file"):
        make_kits(project, root)
    assert [each.name for each in root.iterdir()] == ["owner"]


def test_a_kit_that_says_otherwise_is_refused(kits: Path, tmp_path: Path) -> None:
    file = tmp_path / "project.toml"
    file.write_text(file.read_text().replace('"127.0.0.1"', '"moved.example.org"'))
    before = contents(kits)
    with pytest.raises(BadConfiguration, match=r"owner/config\.toml: .* the project says '0\.0\.0\.0"):
        make_kits(read_project(file), kits)
    assert contents(kits) == before


def test_settings_that_a_person_added_are_no_contradiction(kits: Path, project: Project) -> None:
    config = kits / "cloud_s1" / "config.toml"
    config.write_text(config.read_text() + "max_queries = 3\n")
    make_kits(project, kits, PRINT)
    assert open_kit(kits / "cloud_s1").settings.max_queries == 3  # type: ignore[attr-defined]


def test_the_fingerprint_goes_into_kits_once_s2_has_a_key(kits: Path, project: Project) -> None:
    assert open_kit(kits / "owner").s2_key.fingerprint is None
    made = make_kits(project, kits, PRINT)
    assert {each.kit: each.what for each in made if each.what != "kept as it is"} == dict.fromkeys(
        ["owner", "cloud_s1", "user-alice", "user-bob"], "fingerprint added"
    )
    assert {open_kit(kits / kit).s2_key.fingerprint for kit in KITS if kit != "cloud_s2"} == {PRINT}
    with pytest.raises(BadConfiguration, match="another fingerprint is there"):
        make_kits(project, kits, OTHER)


def test_a_fingerprint_from_the_start(project: Project, tmp_path: Path) -> None:
    make_kits(project, tmp_path / "kits", PRINT)
    assert open_kit(tmp_path / "kits" / "user-bob").s2_key.fingerprint == PRINT
    with pytest.raises(BadConfiguration, match="64 hexadecimal digits"):
        make_kits(project, tmp_path / "more", "abc")
    assert not (tmp_path / "more").exists()


def test_renewal_is_by_name_and_from_the_same_authority(kits: Path, project: Project) -> None:
    before = contents(kits)
    old = certificate(kits / "cloud_s1")
    renew(project, kits, ["cloud_s1"])
    new = certificate(kits / "cloud_s1")
    assert new.serial_number != old.serial_number
    assert new.public_key() != old.public_key()
    assert new.issuer == old.issuer
    changed = {Path(path) for path, content in contents(kits).items() if before.get(path) != content}
    assert changed == {kits / "cloud_s1" / "tls" / name for name in ("key.pem", "certificate.pem")}
    assert [each.kit for each in renew(project, kits, ["user"])] == ["user-alice", "user-bob"]
    with pytest.raises(BadConfiguration, match="--renew cloud_s3: the project has owner, cloud_s1"):
        renew(project, kits, ["cloud_s3"])


def test_a_discarded_authority_issues_nothing_more(project: Project, tmp_path: Path) -> None:
    root = tmp_path / "kits"
    make_kits(project, root, keep_authority=False)
    assert not list(root.rglob("authority/*"))
    with pytest.raises(BadConfiguration, match="without the authority's key no certificate"):
        renew(project, root, ["owner"])
    (root / "user-bob").rename(tmp_path / "gone")
    with pytest.raises(BadConfiguration, match="without the authority's key no certificate"):
        make_kits(project, root)


def test_an_open_or_foreign_authority_is_refused(kits: Path, project: Project) -> None:
    key = kits / "authority" / "key.pem"
    key.chmod(0o644)
    with pytest.raises(BadConfiguration, match="open to others: chmod 600"):
        renew(project, kits, ["owner"])
    key.write_bytes((kits / "owner" / "tls" / "key.pem").read_bytes())
    key.chmod(0o600)
    with pytest.raises(BadConfiguration, match="is not the key of"):
        renew(project, kits, ["owner"])


GOOD = PROJECT.format(7000, 7001, 7002, 7003)

WRONG = {
    "no name": (GOOD.replace('name = "clinic"', ""), "name is missing"),
    "a name with a space": (GOOD.replace("clinic", "my clinic"), "name: must be 1 to 64 letters"),
    "an unknown key": ("nmae = 1\n" + GOOD, r"'nmae' is no setting: did you mean 'name'"),
    "no cloud": (GOOD.replace("[cloud_s2]", "[cloud_s1.names2]"), r"\[cloud_s1\] 'names2' is no setting"),
    "no owner": (GOOD.replace("[owner]", "[validity]"), r"\[validity\] 'host' is no setting"),
    "no host": (GOOD.replace('[owner]\nhost = "127.0.0.1"', "[owner]"), r"\[owner\] host is missing"),
    "host with port": (GOOD.replace('"127.0.0.1"', '"a:7000"', 1), r"\[owner\] host: must be a host name"),
    "port": (GOOD.replace("port = 7001", "port = 70000"), r"\[cloud_s1\] port: must be from 1 to 65535"),
    "port as text": (GOOD.replace("port = 7001", 'port = "x"'), r"\[cloud_s1\] port: must be a whole number"),
    "names": (GOOD.replace('["s1.example.org", "10.0.0.7"]', '"s1"'), r"\[cloud_s1\] names: must be a list"),
    "a role's host for a user": (GOOD + 'host = "x"\n', r"\[users.bob\] 'host' is no setting"),
    **{
        f"host {host[:12]}": (GOOD.replace('"127.0.0.1"', f'"{host}"', 1), r"\[owner\] host: must be a host")
        for host in (
            *(
                "a..b",
                ".a",
                ".",
                "-a",
                "a-.b",
                "a_b",
                "a\\n",
                "ä.org",
                "999.1.1.1",
                "1.2.3",
                "1",
                "0.0.0.0.0",
            ),
            *(
                "[::::::::1]",
                "[]",
                "[1.2.3.4]",
                "[::1%0]",
                "[::1",
                "::1]",
                "[fe80::1%eth0]",
                f"{'l' * 64}.org",
                ".".join(["l" * 60] * 5),
            ),
        )
    },
    "a role's name": (
        GOOD.replace('"s1.example.org"', '"Cloud-S2.twinveil"'),
        r"\[cloud_s1\] names: 'Cloud-S2.twinveil' is a role's name in certificates",
    ),
    "no users": (GOOD.replace("[users.alice]\nport = 7003\n[users.bob]", "[users]"), "there is no user"),
    "a user's name": (GOOD.replace("[users.bob]", '[users."b b"]'), "'b b' is no user's name"),
    "same address": (GOOD.replace("7001", "7000"), r"\[cloud_s1\] and \[owner\] have the same host and port"),
    "small key": (
        GOOD.replace("insecure_small_key = true", ""),
        r"\[cloud_s2\] key_bits: a 512-bit key is ref",
    ),
    "no days": (GOOD + "[validity]\nrole_days = 0\n", r"\[validity\] role_days: must be from 1"),
    "days": (GOOD + "[validity]\nauthority_days = 9\n", r"role_days: longer than authority_days"),
    "no TOML": ("name =", "no TOML"),
    "a table for a value": (
        GOOD.replace("[validity]", "") + "[validity.role_days]\n",
        "must be a whole number",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_project_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    text, words = WRONG[case]
    file = tmp_path / "project.toml"
    file.write_text(text)
    with pytest.raises(BadConfiguration, match=words) as caught:
        read_project(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_project_and_a_kit_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file, root = tmp_path / "project.toml", tmp_path / "kits"
    file.write_text(GOOD, encoding="utf-8-sig")
    project = read_project(file)
    make_kits(project, root)
    config = root / "owner" / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("# fingerprint", "# no fingerprint"), encoding="utf-8-sig")
    make_kits(project, root, PRINT)
    assert settings_of(config)["fingerprint"] == PRINT


HOSTS = {
    "a": ("a", EVERYWHERE),
    "1a.b-c.ORG.": ("1a.b-c.org", EVERYWHERE),
    "x" * 63 + ".org": ("x" * 63 + ".org", EVERYWHERE),
    "10.0.0.7": ("10.0.0.7", EVERYWHERE),
    "::ffff:10.0.0.7": ("10.0.0.7", EVERYWHERE),
    "2001:DB8:0::7": ("[2001:db8::7]", EVERYWHERE),
    "[2001:db8::7]": ("[2001:db8::7]", EVERYWHERE),
    "::1": ("[::1]", "[::1]"),
    "[0:0::1]": ("[::1]", "[::1]"),
    "[::ffff:127.0.0.1]": ("127.0.0.1", "127.0.0.1"),
    "127.0.0.5": ("127.0.0.5", "127.0.0.5"),
    "LocalHost.": ("localhost", "localhost"),
}
"""A host as somebody may write it -> as the kits have it, and what the role there listens on."""


@pytest.mark.parametrize("host", HOSTS)
def test_a_good_host(tmp_path: Path, host: str) -> None:
    file = tmp_path / "project.toml"
    file.write_text(GOOD.replace('"127.0.0.1"', f'"{host}"', 1))
    owner = read_project(file).members["owner"]
    assert (owner.host, owner.listen.removesuffix(":7000")) == HOSTS[host]


def test_one_host_written_in_two_ways_is_one(tmp_path: Path) -> None:
    file = tmp_path / "project.toml"
    text = GOOD.replace("7001", "7000").replace('"127.0.0.1"', '"[::1]"', 1)
    file.write_text(text.replace('"127.0.0.1"', '"0::1"', 1))
    with pytest.raises(BadConfiguration, match=r"\[cloud_s1\] and \[owner\] have the same host and port"):
        read_project(file)


def test_a_certificate_has_hosts_in_their_usual_form(tmp_path: Path) -> None:
    file = tmp_path / "project.toml"
    file.write_text(
        GOOD.replace('["s1.example.org", "10.0.0.7"]', '["S1.Example.ORG.", "0::1", "::ffff:10.0.0.7"]')
    )
    make_kits(read_project(file), tmp_path / "kits")
    shown = names(tmp_path / "kits" / "cloud_s1")
    assert shown.get_values_for_type(x509.DNSName) == ["cloud-s1.twinveil", "s1.example.org"]
    assert list(map(str, shown.get_values_for_type(x509.IPAddress))) == ["127.0.0.1", "::1", "10.0.0.7"]


def test_names_of_any_length_that_is_allowed(tmp_path: Path) -> None:
    file, name, user = tmp_path / "project.toml", "n" * 64, "u" * 64
    file.write_text(GOOD.replace("clinic", name) + f"[users.{user}]\n")
    make_kits(read_project(file), tmp_path / "kits")
    shown = names(tmp_path / "kits" / f"user-{user}")
    assert shown.get_values_for_type(x509.UniformResourceIdentifier) == [f"twinveil://user/{user}"]


def test_no_certificate_outlives_its_authority(project: Project, tmp_path: Path) -> None:
    kits = tmp_path / "kits"
    kits.mkdir()
    save_authority(make_authority(days=2), kits / "authority")
    make_kits(project, kits)
    [made] = renew(project, kits, ["cloud_s1"])
    end = load_authority(kits / "authority").certificate.not_valid_after_utc
    assert certificate(kits / "cloud_s1").not_valid_after_utc == end
    assert made.what == f"renewed until {end.date()}"
    assert f"The certificate ends on {end.date()}" in (kits / "cloud_s1" / "README.md").read_text()


def test_an_authority_that_has_ended_issues_nothing(kits: Path, project: Project) -> None:
    shutil.rmtree(kits / "authority")
    save_authority(make_authority(days=-1), kits / "authority")
    before = contents(kits)
    with pytest.raises(BadConfiguration, match=r"authority: this authority ended 20.* made anew"):
        renew(project, kits, ["cloud_s1"])
    assert contents(kits) == before


def test_the_example_is_good() -> None:
    project = read_project(Path(__file__).parents[2] / "docs" / "project.toml")
    assert len(project.members) == 5


def test_as_typed(tmp_path: Path) -> None:
    (tmp_path / "project.toml").write_text(GOOD)
    command = [sys.executable, "-m", "twinveil.cli", "kits", "project.toml", "-o", "kits"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert "keep that folder offline" in shown.stdout
    wrong = subprocess.run(
        [*command, "--renew", "owner", "--fingerprint", PRINT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def kits_verb(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "twinveil.cli", "kits", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_dask_has_an_authority_of_its_own_that_issues_nothing_more(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        shown = kits_verb("--dask", folder)
        assert (shown.returncode, shown.stderr) == (0, "")
        read(TlsFiles.in_folder(folder))
        assert sorted(path.name for path in folder.iterdir()) == [
            "authority.pem",
            "certificate.pem",
            "key.pem",
        ]
        assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
    member, one, other = (
        x509.load_pem_x509_certificate(path.read_bytes())
        for path in (
            folders[0] / "certificate.pem",
            folders[0] / "authority.pem",
            folders[1] / "authority.pem",
        )
    )
    member.verify_directly_issued_by(one)
    with pytest.raises(InvalidSignature):
        member.verify_directly_issued_by(other)


def test_its_certificates_are_made_alone_and_once(tmp_path: Path) -> None:
    folder = tmp_path / "dask"
    for arguments in ((), (tmp_path / "project.toml", "--dask", folder)):
        shown = kits_verb(*arguments)
        assert (shown.returncode, shown.stderr.count("\n")) == (2, 1)
        assert "or --dask FOLDER alone" in shown.stderr
    assert kits_verb("--dask", folder).returncode == 0
    before = contents(folder)
    assert kits_verb("--dask", folder).returncode == 2
    assert contents(folder) == before
