"""From the informer of signals to the sinks of the configuration."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from kubernaut.api.signals import SignalProcessing
from kubernaut.kube.informer import Informer
from kubernaut.signalprocessing.config import SignalProcessingConfig
from kubernaut.signalprocessing.sinks.metrics import SinkMetrics
from kubernaut.signalprocessing.sinks.sink import Sink, open_sink


class SinkDispatcher:
    """Offers every change of every signal to each sink, while this replica is the one that sends."""

    def __init__(
        self, config: SignalProcessingConfig, signals: Informer[SignalProcessing], metrics: SinkMetrics
    ) -> None:
        self._config = config
        self._signals = signals
        self._metrics = metrics
        self._sinks: list[Sink] = []
        signals.add_event_handler(self._offer)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send while the block runs; what ended before is sent as well, unless it was. Raises SettingsError."""
        config = self._config
        async with AsyncExitStack() as stack:
            for settings in config.sinks:
                opening = open_sink(settings, config.sink_dir, self._metrics, config.cluster.name)
                sink = await stack.enter_async_context(opening)
                sink.relist = self._signals.list
                self._sinks.append(sink)
            for signal in self._signals.list() if self._sinks else ():
                self._offer(None, signal)
            try:
                yield
            finally:
                self._sinks.clear()

    def _offer(self, _: SignalProcessing | None, signal: SignalProcessing | None) -> None:
        if signal is not None:
            for sink in self._sinks:
                sink.offer(signal)
