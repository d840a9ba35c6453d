"""Secrets stay out of what is learnt, stored and said."""

from __future__ import annotations

import base64
import json
import random
import string
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from cli_logs import SMALL, service_lines, write_log
from enhanced_deeplog import EnhancedDeepLog, LogRecords, StreamingClassifier, load_bundle
from enhanced_deeplog.cli import app
from enhanced_deeplog.config import Config
from enhanced_deeplog.errors import ConfigError, InputError
from enhanced_deeplog.redaction import Redactor, choose_secrets

_ALNUM = string.ascii_letters + string.digits


def _random(n: int, alphabet: str = _ALNUM, *, rng: random.Random) -> str:
    return "".join(rng.choice(alphabet) for _ in range(n))


def _with_check_digit(digits: str) -> str:
    """A card number: the slow way, every digit tried."""
    return next(
        digits + str(d)
        for d in range(10)
        if sum(sum(map(int, str(int(c) * (1 + i % 2)))) for i, c in enumerate(reversed(digits + str(d)))) % 10 == 0
    )


def _grouped(digits: str) -> str:
    return "-".join(digits[i : i + 4] for i in range(0, len(digits), 4))


def _iban(account: str) -> str:
    return next(f"DE{c:02}{account}" for c in range(2, 99) if int(f"{account}1314{c:02}") % 97 == 1)


def planted(seed: int = 0) -> list[tuple[str, str, str]]:
    """Forty secrets of more than twelve kinds: kind, the text that it stands in, the secret."""
    rng = random.Random(seed)

    def token(n: int = 24) -> str:
        return _random(n, rng=rng)

    def word() -> str:
        return _random(3, string.ascii_lowercase, rng=rng) + _random(6, rng=rng) + "#" + _random(3, rng=rng)

    def jwt() -> str:
        parts = (base64.urlsafe_b64encode(json.dumps({"sub": token(8)}).encode()).decode().rstrip("=") for _ in "ab")
        return f"{'.'.join(parts)}.{token(43)}"

    key_id = "AKIA" + _random(16, string.ascii_uppercase + string.digits, rng=rng)
    shapes = [
        ("password", "login password={}", word()),
        ("password", 'sign-in {{"user": "bob", "password": "{}"}}', word() + " " + word()),
        ("password", "db settings DB_PASSWORD={}", word()),
        ("password", "retry with password {}", word()),
        ("password", "spring.datasource.password: {}", word()),
        ("password", "run mysql --password {} --host db", word()),
        ("password", "<password>{}</password>", word()),
        ("url", "connect postgres://app:{}@db.internal:5432/orders", word().replace("#", "")),
        ("url", "connect amqp://guest:{}@mq:5672/", word().replace("#", "@")),
        ("url", "connect redis://:{}@cache/0", token()),
        ("authorization", "headers Authorization: Bearer {}", token(40)),
        ("authorization", "headers authorization=Basic {}", base64.b64encode(token(12).encode()).decode()),
        ("authorization", "sent bearer {} upstream", token(32)),
        ("jwt", "session {} accepted", jwt()),
        ("jwt", "id_token={}", jwt()),
        ("aws", "assumed {}", key_id),
        ("aws", "aws_secret_access_key={}", token(40)),
        ("aws", "stray key {}", "9aZ" + token(17) + "+" + token(19)),
        ("vcs", "clone with ghp_{}", token(36)),
        ("vcs", "clone with glpat-{}", token(20)),
        ("vcs", "use github_pat_{}", token(40)),
        ("slack", "post to xoxb-{}", f"{rng.randint(10**11, 10**12)}-{token(24)}"),
        ("cloud", "maps key AIza{}", token(35)),
        ("cloud", "charge sk_live_{}", token(24)),
        ("cloud", "AccountName=x;AccountKey={}", token(60) + "=="),
        ("cloud", "GET /blob?sv=2020&sig={}", token(43)),
        ("api key", "api_key={}", token()),
        ("api key", "X-Api-Key: {}", token()),
        ("api key", '{{"apiKey":"{}"}}', token()),
        ("cookie", "Set-Cookie: sid={}; Path=/; HttpOnly", token()),
        ("cookie", "cookie: theme=dark; session={}", token()),
        ("email", "mail to {}", f"{_random(8, string.ascii_lowercase, rng=rng)}@example.org"),
        ("email", "invite {}", f"jörg.{_random(6, string.ascii_lowercase, rng=rng)}@exämple.de"),
        ("card", "charge card {}", _with_check_digit("4" + _random(14, string.digits, rng=rng))),
        ("card", "charge card {}", _grouped(_with_check_digit("520083" + _random(9, string.digits, rng=rng)))),
        ("card", "charge card {}.", _with_check_digit("37" + _random(12, string.digits, rng=rng))),
        ("iban", "refund to {}", _iban(_random(18, string.digits, rng=rng))),
        ("social security", "applicant {}", f"{rng.randint(100, 665)}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}"),
        ("hash", "stored $2b$12${}", token(53)),
        ("private key", "loaded -----BEGIN RSA PRIVATE KEY----- {} -----END RSA PRIVATE KEY-----", token(64)),
    ]  # fmt: skip
    return [(kind, text.format(secret), secret) for kind, text, secret in shapes]


def pieces(secret: str) -> list[str]:
    """Every eight characters of a secret in a row: none of them may be left."""
    return [secret[i : i + 8] for i in range(max(1, len(secret) - 7))]


def test_forty_secrets_of_twelve_kinds_are_planted() -> None:
    assert len(planted()) == 40
    assert len({kind for kind, _, _ in planted()}) >= 12


@pytest.mark.parametrize("seed", range(5))
def test_no_piece_of_a_secret_is_left_in_a_text(seed: int) -> None:
    secrets = planted(seed)
    redacted = Redactor().redact(pl.Series([text for _, text, _ in secrets]))
    for (_, text, secret), after in zip(secrets, redacted, strict=True):
        assert not any(piece in after for piece in pieces(secret)), text


@pytest.mark.parametrize(
    "text",
    [
        "Failed password for root from 10.0.0.7 port 22 ssh2",
        "password: incorrect",
        'login refused: password is "wrong"',
        "token: expired, retrying",
        "max_tokens=512 bypass=1 compass: north",
        "login with password authentication ok",
        "Receiving block blk_-4111111111111111111 src: /10.250.19.102:54106 dest: /10.250.19.102:50010",
        "Received block blk_4111111111111111 of size 67108864",
        "order 4111111111111112 stored",  # its last digit is no check digit
        "trace 4bf92f3577b34da6a3ce929d0e0e4736 span 00f067aa0ba902b7",
        "took /user/root/rand3/temporary/task/200811101024/0001/m/000590/0/part/00590/data",
        "at org.apache.hadoop.yarn.server.nodemanager.ContainerLaunchContextImplFactory2Bean.start",
        "hdfs@REALM via root@node-7",
        "2024-03-01 12:30:45,123 took 123-45 of 678",
        "id a4111111111111111 and blk_4111111111111111",
        "glance-registry-container up",
        "authorization: denied",
        "authorization=ok user=bob",
        "token: revoked",
        "Unexpected token: }",
        "pass: 20 fail: 3",
        "sudo: ann : TTY=pts/0 ; PWD=/home/ann ; USER=root",
        'secret "my-config" not found',
        "sessionid:0x14ed93111f20027 closed",
        "GET http://host:8080/?next=1#a up",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor().redact_text(text) == text


@given(st.lists(st.one_of(st.text(max_size=60), st.sampled_from([text for _, text, _ in planted()]))))
def test_redacting_twice_is_redacting_once(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    once = Redactor().redact(pl.Series(texts, dtype=pl.String))
    assert Redactor().redact(once).to_list() == once.to_list()


@given(
    st.lists(st.sampled_from([text for _, text, _ in planted()]), max_size=6), st.sampled_from([" ", ", ", "\n", ""])
)
def test_a_text_is_redacted_the_same_alone_and_among_others(texts: list[str], between: str) -> None:
    joined = between.join(texts)
    alone = Redactor().redact_text(joined)
    assert Redactor().redact(pl.Series(["up", joined, "down"])).to_list() == ["up", alone, "down"]


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("id a4111111111111111 paid by 4111111111111111", "id a4111111111111111 paid by <redacted:card>"),
        ("ids 4111111111111112 4111111111111111", "ids 4111111111111112 <redacted:card>"),
        ("4111 1234 4111 1111 1111 1111", "4111 1234 <redacted:card>"),
        ("refund AT611904300234573201 EUR 20", "refund <redacted:iban> EUR 20"),
        ("BE68 5390 0754 7034 PAID", "<redacted:iban> PAID"),
        ("GET /blob?sv=2020&sig=aB3%2Bxy&page=2", "GET /blob?sv=2020&sig=<redacted:secret>&page=2"),
        ("init password := hunter2 token==abc", "init password := <redacted:secret> token==<redacted:secret>"),
        ("map[Authorization:[Basic dXNlcjpwYXNz]]", "map[Authorization:[Basic <redacted:token>]]"),
        ('{"X-Api-Key":["abc123def"]}', '{"X-Api-Key":["<redacted:secret>"]}'),
        (
            "Authorization: AWS4-HMAC-SHA256 Credential=a, Signature=fe5f",
            "Authorization: AWS4-HMAC-SHA256 <redacted:token>",
        ),
        ('passphrase="in the year 2525" ok', 'passphrase="<redacted:secret>" ok'),
        ("password=P@ss&word1!", "password=<redacted:secret>"),
        ("token=<abc>def ok", "token=<redacted:secret> ok"),
        ("password=b'hunter2'", "password=b'<redacted:secret>'"),
        ('password: Some("hunter2")', 'password: Some("<redacted:secret>")'),
        (r"\\\"password\\\":\\\"hunter2\\\"", r"\\\"password\\\":\\\"<redacted:secret>\""),
        ("DB_PASSWORD_PROD=hunter2", "DB_PASSWORD_PROD=<redacted:secret>"),
        ("CREATE USER a IDENTIFIED BY 'hunter2'", "CREATE USER a IDENTIFIED BY '<redacted:secret>'"),
        ("method=GET cookie=abc path=/x status=500", "method=GET cookie=<redacted:cookie> path=/x status=500"),
        ("Cookie: a=b; c=d HTTP/1.1", "Cookie: <redacted:cookie> HTTP/1.1"),
        (
            r'{"user":"ann@x.org","msg":"password\u003dhunter2"}',
            '{"user":"<redacted:email>","msg":"password=<redacted:secret>"}',
        ),
    ],
)
def test_of_a_text_the_secret_goes_and_the_rest_stays(text: str, redacted: str) -> None:
    assert Redactor().redact_text(text) == redacted
    assert Redactor().redact_text(redacted) == redacted


@pytest.mark.parametrize("seed", range(3))
def test_where_a_kind_finds_something_it_was_suspected(seed: int) -> None:
    texts = pl.Series([text for _, text, _ in planted(seed)])
    for secret in choose_secrets():
        asked = Redactor([secret])
        always = Redactor([replace(secret, suspect="^")])
        assert asked.redact(texts).to_list() == always.redact(texts).to_list(), secret


def test_own_kinds_come_first_and_others_can_be_left_out() -> None:
    secrets = choose_secrets(extra={"badge": "B[0-9]{5}"}, without=["email"], ip=True)
    assert Redactor(secrets).redact_text("B12345 of a@b.org from 10.0.0.7:80, fe80::1 at 12:30:45") == (
        "<redacted:badge> of a@b.org from <redacted:ip>:80, <redacted:ip> at 12:30:45"
    )


def test_wrong_kinds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^No kind of secret is called 'mail'\. There are card, cookie, email, "):
        choose_secrets(without=["mail"])
    with pytest.raises(ConfigError, match=r"^Secret 'x': the pattern '\(' is no valid Rust regular expression: unc"):
        choose_secrets(extra={"x": "("})
    for empty in (r"a*", r"\b"):
        with pytest.raises(ConfigError, match=r"^Secret 'x': the pattern .* matches the empty text\."):
            choose_secrets(extra={"x": empty})
    with pytest.raises(ConfigError, match=r"^Secret 'x': .* names a group; write \(\?:\.\.\.\) instead\.$"):
        choose_secrets(extra={"x": "(?P<keep>a)b"})
    with pytest.raises(ConfigError, match=r"^Secret 'red': .* matches <redacted:red>, what would stand in its place"):
        choose_secrets(extra={"red": "red"})
    with pytest.raises(ConfigError, match=r"^A kind of secret is named by letters, digits and _; got 'a-b'\.$"):
        choose_secrets(extra={"a-b": "c"})


def test_session_keys_that_are_secrets_stay_distinct() -> None:
    lines = [f"2024-03-01 08:00:0{i % 10} INFO user=ann{i}@example.org did {i}" for i in range(20)]
    records = LogRecords.from_lines(lines, session_key=r"user=(\S+)")
    keys = records.head(99)["session_key"]
    assert keys.n_unique() == 20
    assert keys.str.contains(r"^<redacted:email>-[0-9a-f]{8}$").all()


def test_a_session_key_that_is_a_secret_by_the_word_before_it_is_one_too() -> None:
    lines = [f"2024-03-01 08:00:0{i % 10} INFO token=hunter{i} did {i}" for i in range(20)]
    keys = LogRecords.from_lines(lines, session_key=r"token=(\S+)").head(99)["session_key"]
    assert keys.n_unique() == 20
    assert keys.str.contains(r"^<redacted:key>-[0-9a-f]{8}$").all()


def test_what_masks_make_of_a_text_is_the_same_with_and_without_redaction() -> None:
    from enhanced_deeplog.logs.masks import mask_bodies

    body = pl.Series(["mail ann@example.org sent"])
    assert mask_bodies(Redactor().redact(body)).to_list() == mask_bodies(body).to_list() == ["mail <*> sent"]


# --- The whole way: bundle, findings, what is told --------------------------------------------------------------


class Leaks:
    """A log with secrets in normal and in abnormal sessions, what was learnt from it and what is said of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.secrets = folder, planted()
        lines = service_lines()
        for i, (_, text, _) in enumerate(self.secrets):  # each in one session only, many of them cancelled ones
            at = len(lines) - 1 - 3 * i
            lines[at] += f" ({text})"
        lines = [f"{line} by Zanzibar9" if i == 40 else line for i, line in enumerate(lines)]  # of no known shape
        self.shared = "s3cr-" + _random(12, rng=random.Random(7))
        lines = [f"{line} token={self.shared}" if "token checked" in line else line for line in lines]
        self.log = write_log(folder / "service.log", lines)
        self.fitted = self.run("fit", self.log, "--bundle", folder / "bundle", *SMALL)

    def run(self, *arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.stderr
        return result

    def found_in(self, data: bytes) -> set[str]:
        everything = [*(secret for _, _, secret in self.secrets), self.shared]
        return {secret for secret in everything if any(piece.encode() in data for piece in pieces(secret))}


@pytest.fixture(scope="module")
def leaks(tmp_path_factory: pytest.TempPathFactory) -> Leaks:
    return Leaks(tmp_path_factory.mktemp("leaks"))


def test_no_byte_of_a_secret_is_in_the_bundle(leaks: Leaks) -> None:
    files = [path for path in (leaks.folder / "bundle").rglob("*") if path.is_file()]
    assert files
    stored = b"".join(path.read_bytes() for path in files)
    assert not leaks.found_in(stored)
    assert not leaks.found_in(leaks.fitted.output.encode())
    assert b"Zanzibar9" not in stored  # a word of one session, whatever it is
    assert b"<hidden:" in stored


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_no_byte_of_a_secret_is_in_findings(leaks: Leaks, suffix: str) -> None:
    output = leaks.folder / f"findings.{suffix}"
    said = leaks.run("classify", leaks.log, "--bundle", leaks.folder / "bundle", "--all", "-o", output)
    data = pl.read_parquet(output).write_json().encode() if suffix == "parquet" else output.read_bytes()
    assert b"<redacted:" in data
    assert not leaks.found_in(data)
    assert not leaks.found_in(said.output.encode())


def test_no_byte_of_a_secret_is_in_what_other_commands_say(leaks: Leaks) -> None:
    bundle = ["--bundle", leaks.folder / "bundle"]
    for command in (
        ["inspect", leaks.log],
        ["inspect", leaks.log, "--json"],
        ["parse", leaks.log],
        ["parse", leaks.log, *bundle],
        ["classify", leaks.log, *bundle],
        ["classify", leaks.log, *bundle, "--json"],
        ["analyze", leaks.log, *SMALL],
        ["classes", "show", "1", *bundle],
    ):
        assert not leaks.found_in(leaks.run(*command).output.encode()), command


def test_full_evidence_shows_lines_as_they_are_and_nothing_else_changes(leaks: Leaks) -> None:
    rows = {}
    for shown in ("redacted", "full", "none"):
        output = leaks.run("classify", leaks.log, "--bundle", leaks.folder / "bundle", "--json", "--evidence", shown)
        rows[shown] = [json.loads(line) for line in output.stdout.splitlines()]
    assert leaks.found_in(json.dumps(rows["full"], ensure_ascii=False).encode())
    lines = {line for finding in rows["none"] for one in finding["evidence"] if (line := one["text"])}
    assert not lines
    for findings in rows.values():
        for finding in findings:
            for one in finding["evidence"]:
                del one["text"]
            if finding["cause"] is not None:
                del finding["cause"]["matched"]
    assert rows["full"] == rows["redacted"] == rows["none"]


def test_a_stream_says_the_same_of_lines_with_secrets(leaks: Leaks) -> None:
    model = load_bundle(leaks.folder / "bundle")
    lines = leaks.log.read_text(encoding="utf-8").splitlines()
    whole = {finding.id: finding for finding in model.classify(LogRecords.from_lines(lines))}
    for evidence in ("redacted", "full"):  # with "full", secrets are still in the texts of the records
        stream = StreamingClassifier(model)
        records = LogRecords.from_lines(lines, evidence=evidence)
        told = [finding for batch in records for finding in stream.process_many(batch).findings]
        told += stream.finish().findings
        last = {finding.id: finding for finding in told}
        assert whole.keys() == {i for i, finding in last.items() if finding.is_anomaly}
        assert not leaks.found_in(json.dumps([f.to_json() for f in last.values()], ensure_ascii=False).encode())


@pytest.mark.parametrize("key", [r"user=(\S+)", "user"])
def test_a_stream_tells_sessions_apart_by_a_key_that_is_a_secret_or_says_how_they_are_to_be_read(key: str) -> None:
    def lines(step: str, n: int) -> list[str]:
        return [
            f"2024-03-01 08:00:{i % 60:02} INFO user=ann{i}@x.org {s}" for i in range(n) for s in ("in", step, "out")
        ]

    config = Config.of({"learning": {"hidden_size": 8, "epochs": 1, "compare_window_sizes": []}})
    model = EnhancedDeepLog(config).fit(normal=LogRecords.from_lines(lines("read", 100), session_key=key))
    new = lines("failed", 5)
    with_key = LogRecords.from_lines(new, session_key=key)
    stream = StreamingClassifier(model)
    told = [verdicts.records for batch in with_key for verdicts in stream.process_many(batch).verdicts]
    assert pl.concat(told)["session_key"].n_unique() == 5
    with pytest.raises(
        InputError, match=r"^Expected records with the session key of the model, which is a secret here"
    ):
        StreamingClassifier(model).process_many(LogRecords.from_lines(new).head(99))
    of_mappings = StreamingClassifier(model)
    of_mappings.process_many([{"body": "in", "session_key": "bob@example.org"}])
    assert of_mappings.finish().verdicts[0].records["session_key"].str.contains(r"^<redacted:email>-[0-9a-f]{8}$").all()


def test_a_word_of_few_sessions_is_hidden_and_still_recognised() -> None:
    lines = [f"2024-03-01 08:00:{i % 60:02} INFO req-{i:06} step{n}" for i in range(100) for n in ("one", "two")]
    lines += [f"2024-03-01 08:02:{i:02} INFO req-{900 + i:06} stepodd" for i in range(4)]
    config = Config.of({"learning": {"hidden_size": 8, "epochs": 1, "compare_window_sizes": []}})
    model = EnhancedDeepLog(config).fit(normal=LogRecords.from_lines(lines, session_key=r"req-\d+"))
    texts = [template.text for template in model.miner.templates]
    assert any(text.endswith("stepone") for text in texts)
    assert not any("stepodd" in text for text in texts)
    events = [batch["event_id"][0] for batch in model.parse(LogRecords.from_lines([lines[-1]]))]
    assert events[0] >= 3


def test_a_secret_that_json_writes_otherwise_in_the_line_is_found_in_the_body() -> None:
    line = '{"time": "2024-03-01T08:00:00Z", "level": "info", "msg": "login password' + r'\u003dhunter2"}'
    record = LogRecords.from_lines([line]).head(1).row(0, named=True)
    assert record["body"] == "login password=<redacted:secret>"
    assert record["text"].endswith('"login password=<redacted:secret>"}')
