"""Tokenizers that come as a SentencePiece model alone: transformers converts them, and we hold it to the original."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Regex, models, normalizers, pre_tokenizers
from transformers import TokenizersBackend
from transformers.tokenization_utils_base import generate_merges

from sum_assets.errors import UnsupportedError

#: What conversions get wrong: ligatures, signs that decompose, spaces of all kinds, marks, other scripts.
_PROBES = (
    "We measured blood pressure (mmHg) in 1,234 patients aged 65-80 years; p<0.001.",
    "Two  spaces at the end  ",
    "Two  spaces, a tab\tand a\nnew line, a no-break\u00a0space and a zero-width\u200bone.",
    "The ﬁrst ½ of µg/mL ± 5% ≥ 10⁻³ at 37 °C, naïve β-catenin — “quoted” … Ångström.",
    "日本語の要約 и русский текст, العربية. 😀",
    "CD4+/CD8+ T-cells e.g. IL-2Rβ; https://doi.org/10.1000/182 [1, 2] {x} ~ ^ _ | \\",
)
# Kinds of models, and of pieces.
_UNIGRAM, _BPE = 1, 2
_UNKNOWN, _UNUSED = 2, 5


def match_sentencepiece(tokenizer: Any, folder: Path, name: str) -> None:
    """Make a tokenizer that was converted from a SentencePiece model split texts as the model itself does.

    Others are left alone. Raises UnsupportedError where the two still differ.
    """
    model = _model_file(tokenizer, folder)
    if model is None:
        return
    from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

    original = SentencePieceProcessor(model_file=str(model))
    if _difference(tokenizer, original):
        proto: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
        proto.ParseFromString(model.read_bytes())
        _rebuild(tokenizer, proto)
    if difference := _difference(tokenizer, original) or _misplaced(tokenizer, original):
        raise UnsupportedError(
            f"model: transformers {transformers.__version__} reads {model.name} of {name} otherwise than SentencePiece "
            f"does, for example {difference!r}. Add the tokenizer.json that the model was trained with."
        )


def write_unigram_model(
    path: Path, pieces: Sequence[tuple[str, float, int]], *, charsmap: bytes, prefix: bool, collapse: bool
) -> None:
    """Write a SentencePiece model of (piece, score, type), of which the unused ones at the end are left out.

    `charsmap` normalizes characters, `prefix` adds a space in front of a text, and `collapse` removes spaces that
    repeat or stand at an end.
    """
    from sentencepiece import sentencepiece_model_pb2

    proto: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    used = max(index for index, (_, _, kind) in enumerate(pieces) if kind != _UNUSED)
    for piece, score, kind in pieces[: used + 1]:
        proto.pieces.add(piece=piece, score=score, type=kind)
    proto.trainer_spec.model_type = _UNIGRAM
    proto.trainer_spec.unk_id = next(index for index, (_, _, kind) in enumerate(pieces) if kind == _UNKNOWN)
    proto.normalizer_spec.precompiled_charsmap = charsmap
    proto.normalizer_spec.add_dummy_prefix = prefix
    proto.normalizer_spec.remove_extra_whitespaces = collapse
    path.write_bytes(proto.SerializeToString())


def _model_file(tokenizer: Any, folder: Path) -> Path | None:
    """Return the SentencePiece model that a tokenizer was converted from."""
    if not isinstance(tokenizer, TokenizersBackend) or (folder / "tokenizer.json").is_file():
        return None
    names = (type(tokenizer).vocab_files_names.get("vocab_file", ""), "tokenizer.model")
    return next((folder / name for name in names if name.endswith(".model") and (folder / name).is_file()), None)


def _difference(tokenizer: Any, original: Any) -> str | None:
    """Return a text that the two split otherwise."""
    unknown = original.id_to_piece(original.unk_id())
    for text in _PROBES:
        pieces = [original.id_to_piece(i) for i in original.encode(text)]
        wanted = [tokenizer.unk_token if piece == unknown else piece for piece in pieces]
        if tokenizer.convert_ids_to_tokens(tokenizer.encode(text, add_special_tokens=False)) != wanted:
            return text
    return None


def _misplaced(tokenizer: Any, original: Any) -> str | None:
    """Return a piece whose id is not the model's own, plus what the tokenizer's class puts before all pieces."""
    offsets = (getattr(tokenizer, name, None) for name in ("offset", "fairseq_offset"))
    before = next((offset for offset in offsets if offset is not None), 0)
    for piece_id in range(len(original)):
        if original.is_control(piece_id) or original.is_unknown(piece_id) or original.is_unused(piece_id):
            continue
        piece = original.id_to_piece(piece_id)
        if tokenizer.convert_tokens_to_ids(piece) != piece_id + before:
            return str(piece)
    return None


def _rebuild(tokenizer: Any, proto: Any) -> None:
    """Give a tokenizer the algorithm and the normalization of a SentencePiece model, under its own ids."""
    backend = tokenizer.backend_tokenizer
    vocabulary = sorted(backend.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
    scores = {piece.piece: piece.score for piece in proto.pieces}
    fallback = bool(proto.trainer_spec.byte_fallback)
    kind = proto.trainer_spec.model_type
    if kind == _UNIGRAM and not isinstance(backend.model, models.Unigram):
        backend.model = models.Unigram(
            [(piece, scores.get(piece, 0.0)) for piece, _ in vocabulary],
            unk_id=dict(vocabulary)[tokenizer.unk_token],
            byte_fallback=fallback,
        )
    elif kind == _BPE and not isinstance(backend.model, models.BPE):
        ids = dict(vocabulary)
        merges = generate_merges(ids, {piece: scores.get(piece, 0.0) for piece in ids})
        backend.model = models.BPE(
            ids, merges, unk_token=tokenizer.unk_token, fuse_unk=True, byte_fallback=fallback, dropout=None
        )
    spec = proto.normalizer_spec
    steps: list[Any] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    backend.normalizer = normalizers.Sequence(steps)
    if kind == _UNIGRAM:
        prefix = "always" if spec.add_dummy_prefix else "never"
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=prefix, split=True)
