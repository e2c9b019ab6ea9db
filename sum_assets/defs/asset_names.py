"""The names of all assets, in the order of the graph: the one list of them."""

#: What the job `summarize_corpus` and a backfill materialize.
CORPUS_ASSETS = ABSTRACTS, SUMMARIES, SUMMARY_TABLE = ("abstracts", "summaries", "summary_table")
#: What run configuration calls the step that materializes them.
CORPUS_OP = SUMMARIES
COMPARISON = "comparison"
BENCHMARK_ASSETS = BENCHMARK, BENCHMARK_REPORT = ("benchmark", "benchmark_report")
#: What nothing materializes: a sensor records it.
CORPUS_STATUS = "corpus_status"
#: The job that makes a pilot of a range, and of how many abstracts by itself.
PILOT, PILOT_ROWS = "pilot", 32
