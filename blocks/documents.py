"""Block documents at the Prefect server: found, or known not to be there."""

from __future__ import annotations

from typing import TypeVar

from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from visibility.errors import ConfigurationError

BlockType = TypeVar("BlockType", bound=Block)


async def load_document(block_type: type[BlockType], name: str) -> BlockType | None:
    """Return the named document of a block type, or None when it is not there.

    Raises ConfigurationError for a document that no longer fits its block.
    """
    try:
        return await block_type.aload(name)
    except RuntimeError as error:  # what Prefect raises for a document whose fields are not the block's
        if not isinstance(error.__cause__, ValidationError):
            raise
        fields = ", ".join(".".join(map(str, one["loc"])) for one in error.__cause__.errors())
        raise ConfigurationError(
            f"The block {document_name(block_type, name)} does not fit any more: {fields}. Save it again."
        ) from None
    except ValueError as error:
        if not isinstance(error.__cause__, ObjectNotFound):
            raise
        return None


def document_name(block_type: type[Block], name: str) -> str:
    """Return how Prefect names a document: `<slug of the type>/<name>`."""
    return f"{block_type.get_block_type_slug()}/{name}"
