"""Block types of the product; `prefect block register -m blocks` makes them known to a server."""

from blocks.bright_data import BrightDataCredentials
from blocks.database import ResultsDatabase
from blocks.openai import AzureOpenAICredentials, OpenAICredentials

__all__ = ["AzureOpenAICredentials", "BrightDataCredentials", "OpenAICredentials", "ResultsDatabase"]
