"""Bright Data's Web Scraper API v3: ChatGPT, Perplexity and Gemini as people see them.

engines    the three datasets and what one input of each holds
client     one HTTP call each; foreign errors become ours here
throttle   how often the account may be called
records    what a job returned, joined to the question runs that asked for it
refusals   which inputs a 400 is about
jobs       the state machine of one job, from the claim to the stored answers
lookup     whose is a snapshot whose id was lost
filling    which question runs travel in one job
outages    an engine whose jobs keep failing gets a pause
"""
