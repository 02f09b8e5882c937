"""llama2.c's files: what its programs know a model to say is said here, and what is written they can read."""

import dataclasses
import json
import pathlib
import struct
from collections.abc import Callable

import numpy as np
import pytest

from tests.interop import llama2c_reader
from tests.interop.conftest import logits_of, random_model
from tinyjax.errors import UserError
from tinyjax.interop import llama2c, llama2c_tokenizer
from tinyjax.interop.model import Model
from tinyjax.sample.model import Model as Teller
from tinyjax.sample.options import Options
from tinyjax.sample.stories import Completion, generate
from tinyjax.tokenizer import Tokenizer, load_tokenizer
from tinyjax.tokenizer.byte_level import END_OF_TEXT, byte_characters

EDGES = [
    "", " ", "a", " a", "a ", "two  spaces", "\n", "\n\nOnce\n", "a\tb", "caf\u00e9 \u2019 \U0001f600",
    "nul \0", "<s></s><unk><0x0A>", "\u4e2d\u6587",
]  # fmt: skip
SHAPES: dict[str, dict] = {
    "tied": {},
    "untied": {"tie_embeddings": False, "num_kv_heads": 1},
    "odd": {"d_ff": 24, "num_layers": 1},
}


def float32(model: Model) -> Model:
    config = dataclasses.replace(model.config, compute_dtype="float32").freeze()
    return dataclasses.replace(model, config=config)


def greedy(model: Model, prompt: str = "", max_tokens: int = 40) -> Completion:
    """The likeliest story, told by our own sampler."""
    model = float32(model)
    told = Teller(model.config, model.params, model.tokenizer, 0, False)
    return generate(told, [prompt], options=Options(temperature=0.0, max_tokens=max_tokens))[0]


def written(model: Model, folder: pathlib.Path, **options: int) -> pathlib.Path:
    folder.mkdir(exist_ok=True)
    llama2c.write(model, folder / "model.bin", **options)
    return folder / "model.bin"


def all_bytes(path: pathlib.Path) -> list[bytes]:
    return [file.read_bytes() for file in llama2c.files(path)]


@pytest.fixture(params=SHAPES)
def llama(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> Model:
    return random_model(tokenizer, **SHAPES[request.param])


@pytest.fixture(scope="session")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Byte-level BPE of 256 bytes, a merge and the end of a text."""
    folder = tmp_path_factory.mktemp("byte_level")
    vocab = [*byte_characters(), "th", END_OF_TEXT]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocab)}))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\n")
    return load_tokenizer(folder)


@pytest.fixture
def real(shared_data: pathlib.Path) -> pathlib.Path:
    return shared_data / "llama2c"


# Models of others.


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer_name", ["tok512.bin", "tok512.model"])
def test_the_model_of_others_tells_the_story_it_is_known_for(real: pathlib.Path, tokenizer_name: str):
    tokenizer = llama2c_tokenizer.read_tokenizer(real / tokenizer_name)
    model = llama2c.read(real / "stories260K.bin", tokenizer)
    told = greedy(model, max_tokens=256)
    assert len(told.tokens) == 256
    assert told.text.encode() + b"\n" == (real / "expected-greedy-256.txt").read_bytes()
    begin = tokenizer.decode(tokenizer.encode(told.text)[:200])
    assert begin.encode() == (real / "expected-greedy-200.txt").read_bytes().removesuffix(b"\n")


def test_a_tokenizer_of_others_gives_the_ids_it_is_known_for(real: pathlib.Path, train_sample: pathlib.Path):
    ours = llama2c_tokenizer.read_tokenizer(real / "tok512.bin")
    theirs = load_tokenizer(real / "tok512.model")
    stories = [story.strip() for story in train_sample.read_text().split("<|endoftext|>")][:1000]
    alike = [story for story in stories if "  " not in story]  # there the SentencePiece model drops spaces
    assert len(alike) > 950
    for story in alike:
        np.testing.assert_array_equal(ours.encode(story), theirs.encode(story))


def test_writing_what_others_wrote_changes_nothing_but_tables_no_program_reads(
    real: pathlib.Path, tmp_path: pathlib.Path
):
    source = real / "stories260K.bin"
    model = llama2c.read(source, llama2c_tokenizer.read_tokenizer(real / "tok512.bin"))
    copy, tokenizer = all_bytes(written(model, tmp_path))
    assert tokenizer == (real / "tok512.bin").read_bytes()
    tables = 2 * 4 * 512 * 4  # cosine and sine of 512 positions and half of a head of 8
    assert copy[:-tables] == source.read_bytes()[:-tables]
    angles = (np.frombuffer(data[-tables:], "<f4") for data in (copy, source.read_bytes()))
    np.testing.assert_allclose(*angles, rtol=0, atol=1e-4)  # theirs are of float32 angles


# Models of ours, read by a strict reader.


@pytest.mark.parametrize("version", [0, 1])
def test_a_strict_reader_gets_our_logits(llama: Model, tmp_path: pathlib.Path, version: int):
    reader = llama2c_reader.Model(written(llama, tmp_path, version=version))
    assert (reader.version, reader.vocab) == (version, llama.tokenizer.vocab_size)
    assert reader.context == llama.config.context_length
    check_logits(reader, llama, atol=1e-5)


def check_logits(reader: llama2c_reader.Model, model: Model, atol: float) -> None:
    """Compares the logits after a text, each id where llama2.c has it, as a share of the largest."""
    inputs_V, outputs_V = llama2c_tokenizer.arrangement(model.tokenizer)
    ids = [model.tokenizer.bos_id, *model.tokenizer.encode("Tom took the kite.\nAnna felt \U0001f600.")]
    theirs = reader.logits([int(np.flatnonzero(inputs_V == i)[0]) for i in ids])
    ours = logits_of(float32(model), np.array([ids]))[0][:, outputs_V]
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=atol * np.abs(ours).max())


def test_int8_is_near_and_read_as_a_strict_reader_reads_it(llama: Model, tmp_path: pathlib.Path):
    path = written(llama, tmp_path, version=2)
    reader, again = llama2c_reader.Model(path), llama2c.read(path)
    assert llama.config.d_model % reader.group == llama.config.d_ff % reader.group == 0
    check_logits(reader, again, atol=1e-5)
    check_logits(reader, llama, atol=0.1)
    inputs_V, _ = llama2c_tokenizer.arrangement(llama.tokenizer)
    before, after = llama.params["embedding"][inputs_V], again.params["embedding"]
    error, largest = (x.reshape(-1, reader.group) for x in (np.abs(after - before), np.abs(before)))
    assert (error <= 0.5001 * largest.max(axis=1, keepdims=True) / 127).all()


@pytest.mark.parametrize(("d_ff", "group_size", "expected"), [(64, 64, 32), (24, 64, 8), (64, 16, 16)])
def test_groups_are_halved_until_they_fill_the_rows(
    tokenizer: Tokenizer, tmp_path: pathlib.Path, d_ff: int, group_size: int, expected: int
):
    path = written(random_model(tokenizer, d_ff=d_ff), tmp_path, version=2, group_size=group_size)
    assert llama2c_reader.Model(path).group == expected


def test_groups_that_reach_over_rows_are_read_too(tokenizer: Tokenizer, tmp_path: pathlib.Path):
    path = written(random_model(tokenizer, d_ff=48), tmp_path, version=2)
    data = path.read_bytes()
    first = 256 + 4 * 5 * 32  # after the norms of two blocks and the last one
    blocks = [rows * 32 for rows in (32, 16, 16, 32, 48, 48, 48) for _ in range(2)]
    regrouped, at = bytearray(data[:37] + struct.pack("<i", 32) + data[41:first]), first
    for count in [300 * 32, *blocks, 300 * 32]:
        q = np.frombuffer(data, np.int8, count, at).reshape(-1, 16)
        scales = np.frombuffer(data, "<f4", count // 16, at + count)
        x = (q * scales[:, None]).reshape(-1, 32)
        scale = np.abs(x).max(axis=1, keepdims=True) / 127
        regrouped += np.round(x / scale).astype(np.int8).tobytes() + scale.astype("<f4").tobytes()
        at += count + count // 4
    path.write_bytes(regrouped)
    check_logits(llama2c_reader.Model(path), llama2c.read(path), atol=1e-5)


@pytest.mark.parametrize("version", llama2c.VERSIONS)
def test_what_is_read_again_gives_the_same_bytes(llama: Model, tmp_path: pathlib.Path, version: int):
    path = written(llama, tmp_path / "first", version=version)
    again = written(llama2c.read(path), tmp_path / "second", version=version)
    assert all_bytes(path) == all_bytes(again)


def test_int8_of_any_scale_is_stable(tokenizer: Tokenizer, tmp_path: pathlib.Path):
    model = random_model(tokenizer)
    rng = np.random.default_rng(0)
    x_VD = rng.standard_normal((320, 32)) * 10.0 ** rng.uniform(-44, 30, (320, 1))
    x_VD[7], x_VD[8, 3] = 0, -x_VD[8].max()
    model = dataclasses.replace(model, params=model.params | {"embedding": x_VD.astype(np.float32)})
    path = written(model, tmp_path / "first", version=2)
    again = written(llama2c.read(path), tmp_path / "second", version=2)
    assert all_bytes(path) == all_bytes(again)


# Where a story ends, and the tokenizer.


@pytest.mark.slow
def test_a_story_ends_in_the_copy_where_ours_ends(tokenizer: Tokenizer, tmp_path: pathlib.Path):
    model = ending_soon(random_model(tokenizer))
    ours = greedy(model, "Tom")
    assert ours.finish == "end" and 1 < len(ours.tokens) < 40  # noqa: PT018
    copy = llama2c.read(written(model, tmp_path))
    ids = [copy.tokenizer.bos_id, *from_ours(model.tokenizer, model.tokenizer.encode("Tom"))]
    reader = llama2c_reader.Model(tmp_path / "model.bin")
    new: list[int] = []
    while (chosen := int(reader.logits(ids + new)[-1].argmax())) != llama2c_tokenizer.BOS:
        new.append(chosen)
    assert copy.tokenizer.decode(new, start=False) == ours.text


def test_a_model_that_was_read_ends_where_the_programs_do(
    real: pathlib.Path, tokenizer: Tokenizer, tmp_path: pathlib.Path
):
    copy = llama2c.read(written(random_model(tokenizer), tmp_path)).tokenizer
    given = llama2c.read(real / "stories260K.bin", load_tokenizer(real / "tok512.model")).tokenizer
    for read in (copy, given):
        assert (read.unk_id, read.bos_id, read.eos_id) == (0, 1, 1)
        assert read.piece_bytes[1] == b""


def test_what_differs_there_is_said(real: pathlib.Path, tokenizer: Tokenizer, tmp_path: pathlib.Path):
    assert llama2c.write(random_model(tokenizer), tmp_path / "model.bin", version=2) == [
        "the output head is stored beside the embedding, so that run.c stops where a story ends",
        "run.c puts a space before a prompt (-i), which this model's tokenizer does not",
        "int8 in groups of 32",
    ]
    others = load_tokenizer(real / "tok512.model")
    model = random_model(others, vocab_size=512, tie_embeddings=False)
    (said,) = llama2c.write(model, tmp_path / "model.bin")
    assert said.startswith("llama2.c gives other ids than the tokenizer to texts such as ' ' and")
    copy = llama2c.read(tmp_path / "model.bin")
    assert llama2c.write(copy, tmp_path / "model.bin") == []


def ending_soon(model: Model) -> Model:
    """Returns the model with a head of its own, by which it says nothing but text, and soon the end."""
    tokenizer = model.tokenizer
    head_VD = np.array(model.params["embedding"])
    head_VD[[tokenizer.pad_id, tokenizer.bos_id, tokenizer.unk_id]] = 0
    head_VD[tokenizer.eos_id] *= 3
    config = dataclasses.replace(model.config, tie_embeddings=False).freeze()
    return Model(config, model.params | {"head": head_VD}, tokenizer)


def from_ours(tokenizer: Tokenizer, ids: np.ndarray) -> list[int]:
    inputs_V, _ = llama2c_tokenizer.arrangement(tokenizer)
    return [int(np.flatnonzero(inputs_V == i)[0]) for i in ids]


def test_the_copy_of_a_tokenizer_encodes_as_the_programs_do(
    llama: Model, tmp_path: pathlib.Path, stories: list[str]
):
    copy = llama2c.read(written(llama, tmp_path)).tokenizer
    pieces = llama2c_reader.read_tokenizer(tmp_path / "tokenizer.bin", copy.vocab_size)
    for text in stories[:10] + EDGES:
        assert copy.encode(text).tolist() == llama2c_reader.encode(pieces, text), text
        if text and not text.startswith(" "):  # a space goes before, which ours does without
            ours = llama.tokenizer.encode(f" {text}")
            assert copy.encode(text).tolist() == from_ours(llama.tokenizer, ours)
        assert copy.decode(copy.encode(text)) == text


# What can't be written, and what can't be read.


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"family": "gpt_neo", "num_kv_heads": 4}, "config.model.family=gpt_neo, only with llama"),
        ({"qk_norm": True}, "config.model.qk_norm=True, only with False"),
        ({"norm_eps": 1e-6}, "config.model.norm_eps=1e-06, only with 1e-05"),
        ({"rope_theta": 500.0}, "config.model.rope_theta=500.0, only with 10000.0"),
        ({"head_dim": 16}, "config.model.head_dim=16, only with 8"),
    ],
)
def test_what_the_programs_cannot_do_is_refused(
    tokenizer: Tokenizer, tmp_path: pathlib.Path, changes: dict, said: str
):
    with pytest.raises(UserError, match=said) as error:
        llama2c.write(random_model(tokenizer, **changes), tmp_path / "model.bin")
    assert "--format=hf" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_other_tokenizers_are_refused(tokenizer: Tokenizer, tmp_path: pathlib.Path, byte_level: Tokenizer):
    model = dataclasses.replace(random_model(tokenizer), tokenizer=byte_level)
    with pytest.raises(UserError, match=r"llama2.c knows SentencePiece BPE .* --format=hf"):
        llama2c.write(model, tmp_path / "model.bin")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-1], "bytes, but the model that its header describes takes"),
        (lambda data: data + b"\0", "bytes, but the model that its header describes takes"),
        (lambda data: data[:20], "is no llama2.c model"),
        (lambda data: b"", "is no llama2.c model"),
        (lambda data: b"GGUF" + data[4:], "is no llama2.c model"),
        (lambda data: data[:4] + struct.pack("<i", 3) + data[8:], "of version 3 .* only 0, 1 and 2"),
        (lambda data: data[:20] + struct.pack("<i", 3) + data[24:], "is no llama2.c model"),
        (lambda data: data[:37] + struct.pack("<i", 5) + data[41:], "is no llama2.c model"),
    ],
)
def test_a_damaged_model_is_refused(
    tokenizer: Tokenizer, tmp_path: pathlib.Path, damage: Callable[[bytes], bytes], said: str
):
    path = written(random_model(tokenizer), tmp_path, version=2)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=said) as error:
        llama2c.read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-1], "is damaged at byte"),
        (lambda data: data + b"\0\0\0", "is damaged at byte"),
        (lambda data: data[:12] + b"\xff" + data[13:], "is damaged at byte 4"),
        (lambda data: data.replace(b"<0x0A>", b"<0x0B>"), "no bytes at ids 3 to 258"),
        (lambda data: data.replace(b"\n<s>\n", b"\n\n\n\n\n"), "or has an empty piece, or one twice"),
        (lambda data: data.replace(b"\n<s>\n", b"\n\nh\n\n"), "or has an empty piece, or one twice"),
    ],
)
def test_a_damaged_tokenizer_is_refused(
    tokenizer: Tokenizer, tmp_path: pathlib.Path, damage: Callable[[bytes], bytes], said: str
):
    path = written(random_model(tokenizer), tmp_path)
    damaged = tmp_path / llama2c.TOKENIZER
    damaged.write_bytes(damage(damaged.read_bytes()))
    with pytest.raises(UserError, match=said):
        llama2c.read(path)


def test_a_tokenizer_that_is_not_the_models_is_refused(tokenizer: Tokenizer, tmp_path: pathlib.Path):
    path = written(random_model(tokenizer), tmp_path)
    with pytest.raises(UserError, match="has them in another order"):  # its ids are those before writing
        llama2c.read(path, tokenizer)
    (tmp_path / llama2c.TOKENIZER).unlink()
    with pytest.raises(UserError, match=r"no tokenizer.bin beside .* --tokenizer=PATH"):
        llama2c.read(path)
    with pytest.raises(UserError, match="there is no file"):
        llama2c.read(tmp_path / "other.bin")
