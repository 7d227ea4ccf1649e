"""How well the model foretells held-out posts: bits per UTF-8 byte, by our own decoder from the exported folder."""

from __future__ import annotations

from townsquare import receipts
from townsquare.errors import StaleError
from townsquare.evaluate.subject import Outcome, Subject
from townsquare.tokens import tables

NAME = "bits_per_byte"
ABOUT = "Bits that the model needs for each UTF-8 byte of held-out posts; less is better. n counts documents."


def run(subject: Subject) -> Outcome:
    """Score the test split, or the validation split where there is no other.

    Raises StaleError when there are no held-out shards, or they are of another vocabulary than the model's.
    """
    square = subject.square
    vocabulary = subject.folder / "tokenizer.json"
    if not vocabulary.is_file() or receipts.sha256_of(vocabulary) != tables.manifest(square)["vocabulary_sha256"]:
        raise StaleError("the shards are not of the model's vocabulary", remedy="Run first: townsquare tokens")
    split = next((name for name in ("test", "validation") if tables.shards(square, "documents", name)), None)
    if split is None:
        raise StaleError("there are no held-out documents", remedy="Ingest more posts, then run: townsquare curate")
    import torch

    from townsquare.model import huggingface
    from townsquare.train.loop import Numbers
    from townsquare.train.scoring import bits_per_byte, held_out_documents

    documents = held_out_documents(tables.shards(square, "documents", split))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    decoder = huggingface.load(subject.folder).to(device).eval()
    longest = min(int(documents.lengths.max()), decoder.config.max_position_embeddings)
    score = bits_per_byte(decoder, documents, tables.token_bytes(square), longest, Numbers(torch.float32, device))
    return Outcome({"bits_per_byte": score, "n": len(documents)}, {"split": split})
