"""The names of all assets, in the order of the graph, and of the jobs: the one list of them."""

#: The job of the whole corpus.
SUMMARIZE = "summarize_corpus"
#: What that job and a backfill materialize.
CORPUS_ASSETS = ABSTRACTS, SUMMARIES, SUMMARY_TABLE = ("abstracts", "summaries", "summary_table")
#: What run configuration calls the step that materializes them.
CORPUS_OP = SUMMARIES
COMPARISON = "comparison"
BENCHMARK_ASSETS = SWEEP, BENCHMARK, BENCHMARK_REPORT = ("sweep", "benchmark", "benchmark_report")
#: The user's own table, which is there.
SOURCE = "source_abstract"
#: What nothing materializes: a sensor records it.
CORPUS_STATUS = "corpus_status"
#: The job that makes a pilot of a range, and of how many abstracts by itself.
PILOT, PILOT_ROWS = "pilot", 32
#: The jobs of the benchmark.
REGISTER, MEASURE, REPORT = "register_sweep", "benchmark_preset", "report_benchmark"
#: The job of the comparison.
COMPARE = "compare_configurations"
#: The jobs that publish nothing. A run or a backfill of a job names no assets.
JOBS_WITHOUT_TABLE = (PILOT, REGISTER, MEASURE, REPORT, COMPARE)
