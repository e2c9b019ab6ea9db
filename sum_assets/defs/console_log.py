"""Prints a run's log without stack traces: the sentence at its end says what to do."""

import logging

import dagster as dg


class _Sentences(logging.Formatter):
    """Another formatter, without what follows the message of an error."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return self._inner.format(record).partition("\n\nStack Trace:")[0]


def _console(context: dg.InitLoggerContext) -> logging.Logger:
    logger = dg.colored_console_logger.logger_fn(context)
    if logger.level > logging.DEBUG:
        for handler in logger.handlers:
            if handler.formatter:
                handler.setFormatter(_Sentences(handler.formatter))
    return logger


#: Dagster's console logger. The event log has the stack traces anyway, and the level DEBUG prints them.
console_log = dg.LoggerDefinition(
    _console, config_schema=dg.colored_console_logger.config_schema, description="The console, without stack traces."
)
