"""See filter_lane.pxd."""
import asyncio
import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from fastmesh.core.base.atomics cimport fm_bump
from fastmesh.core.base.clock cimport now_ns
from fastmesh.core.base.counters cimport WK_FILTER_BLOCKED, WK_FILTER_ERROR, WK_FILTER_TIMEOUT, WK_FILTER_TOO_LARGE
from fastmesh.core.base.wheel cimport Timed
from fastmesh.core.proxy.filter_message cimport Answer
from fastmesh.core.proxy.transit cimport keep_trailers
from fastmesh.core.route.filter cimport Filter
from fastmesh.core.wire.message cimport Head

log = logging.getLogger("fastmesh.filter")

cdef enum:
    TELL_EVERY = 1000000000   # ns between two lines about one filter

cdef tuple STAGES = ("head", "body", "body", "chunk")


async def _guarded(awaitable):
    """asyncio would let these two end the worker."""
    try:
        return await awaitable
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"{type(error).__name__} in a filter") from error


cdef bint _may_tell(Filter filter):
    cdef uint64_t now = now_ns()
    if filter.told_at and now - filter.told_at < TELL_EVERY:
        return False
    filter.told_at = now
    return True


cdef class Lane(Timed):
    cdef void go(self):
        cdef Filter filter
        cdef bytes piece
        if self.running or self.task is not None:
            return
        self.running = True
        while self.task is None and self.stage < LANE_OPEN:
            if self.stage == LANE_GATHER:
                if not self.ended:
                    break
                self.take()
                self.stage, self.at = LANE_WHOLE, self.first
            elif self.stage == LANE_STREAM and self.piece is None:
                if not self.take():
                    break
                self.at = self.first
            if self.at < len(self.filters):
                filter = self.filters[self.at]
                if filter is None:
                    self.at += 1
                else:
                    self.call(filter)
            elif self.stage == LANE_HEAD:
                self.head_done()
            else:
                piece, self.piece = self.piece, None
                self.emit(piece, self.last)
        self.running = False

    cdef bint take(self):
        """What waits becomes the piece under way."""
        if not self.queue and not self.ended:
            return False
        self.piece = self.queue[0] if len(self.queue) == 1 else b"".join(self.queue)
        self.queue, self.queued = [], 0
        self.last = self.ended
        return True

    cdef void call(self, Filter filter):
        cdef uint64_t began = now_ns()
        cdef uint64_t took
        result = error = None
        try:
            result = self.invoke(filter)
        except BaseException as raised:
            error = raised
        took = now_ns() - began
        if took > <uint64_t>filter.timeout * 1000000:
            fm_bump(&self.x.engine.row[WK_FILTER_BLOCKED], 1)
            if _may_tell(filter):
                log.warning("filter %s: %s blocked the worker for %d ms (its limit is %d): nothing can interrupt it, make it async",
                            filter.name, self.hook_name(), took // 1000000, filter.timeout)
        if error is not None:
            self.fail(filter, error)
        elif result is None or isinstance(result, (bytes, Answer)):
            self.settle(filter, result)
        elif hasattr(result, "__await__"):
            self.wait_for(filter, result)
        else:
            self.settle(filter, result)

    cdef void settle(self, Filter filter, result):
        """The hook is done, and this is what it says."""
        if isinstance(result, Answer):
            self.answer(filter, result)
            return
        if result is not None:
            if self.stage == LANE_HEAD or not isinstance(result, (bytes, bytearray, memoryview)):
                wanted = "None or an Answer" if self.stage == LANE_HEAD else "None, bytes or an Answer"
                self.fail(filter, TypeError(f"{self.hook_name()} returned {type(result).__name__}, not {wanted}"))
                return
            self.piece = bytes(result)
        self.at += 1

    cdef void wait_for(self, Filter filter, awaitable):
        try:
            self.task = self.x.engine.loop.create_task(_guarded(awaitable))
            self.task.add_done_callback(self._done)
        except Exception as error:
            self.fail(filter, error)
            return
        self.x.engine.wheel.start(&self.timer, self, 0, filter.timeout)

    def _done(self, task):
        cdef Filter filter
        if task is not self.task:
            if not task.cancelled():
                task.exception()          # nobody waits for it any more
            return
        self.task = None
        self.x.engine.wheel.cancel(&self.timer)
        filter = self.filters[self.at]
        if task.cancelled():
            self.fail(filter, asyncio.CancelledError("the hook was cancelled"))
        elif task.exception() is not None:
            self.fail(filter, task.exception())
        else:
            self.settle(filter, task.result())
        self.resume()

    cdef void on_timer(self, int kind) noexcept:
        cdef Filter filter
        cdef Lane kept = self
        if self.task is None:
            return
        task, self.task = self.task, None
        task.cancel()
        filter = self.filters[self.at]
        fm_bump(&self.x.engine.row[WK_FILTER_TIMEOUT], 1)
        if _may_tell(filter):
            log.error("filter %s: %s took longer than %d ms", filter.name, self.hook_name(), filter.timeout)
        if filter.passes:
            self.leave_out(filter)
        else:
            self.refuse(filter, 500, filter.late)
        self.resume()

    cdef void resume(self):
        self.go()
        self.flush()

    cdef void push(self, const char* data, size_t size):
        if self.stage == LANE_CLOSED:
            return
        self.queue.append(PyBytes_FromStringAndSize(data, size))
        self.queued += size
        if self.stage == LANE_GATHER:
            self.look_too_large()
        self.go()

    cdef void keep_end(self, const Head* trailers):
        self.ended = True
        if trailers != NULL:
            self.trailers = keep_trailers(trailers)
        self.go()

    cdef void look_too_large(self):
        """The body that is collected is larger than a filter may be given."""
        cdef Filter filter
        cdef int i
        cdef bint left_out = False
        for i in range(self.first, len(self.filters)):
            filter = self.filters[i]
            if filter is None or self.whole_hook(filter) is None or self.queued <= filter.body_limit:
                continue
            fm_bump(&self.x.engine.row[WK_FILTER_TOO_LARGE], 1)
            if not filter.passes:
                self.at = i
                self.refuse(filter, 0, filter.too_large)
                return
            self.filters[i] = None
            left_out = True
        if left_out and not self.wants_whole():
            self.stage, self.at = LANE_HEAD, len(self.filters)     # as if there had been no hook for the whole body

    cdef void fail(self, Filter filter, error):
        fm_bump(&self.x.engine.row[WK_FILTER_ERROR], 1)
        if _may_tell(filter):
            log.error("filter %s: %s raised %s: %s", filter.name, self.hook_name(), type(error).__name__, error,
                      exc_info=(type(error), error, error.__traceback__))
        if filter.passes:
            self.leave_out(filter)
        else:
            self.refuse(filter, 500, filter.raised)

    cdef void leave_out(self, Filter filter):
        cdef Lane lane
        cdef int i
        for lane in (self, self.other):
            if lane is not None:
                for i in range(len(lane.filters)):
                    if lane.filters[i] is filter:
                        lane.filters[i] = None

    cdef void stop(self):
        self.stage = LANE_CLOSED
        self.queue, self.queued, self.piece = [], 0, None
        if self.task is not None:
            task, self.task = self.task, None
            task.cancel()
        self.x.engine.wheel.cancel(&self.timer)

    cdef bint wants_whole(self):
        cdef Filter filter
        for filter in self.filters[self.first:]:
            if filter is not None and self.whole_hook(filter) is not None:
                return True
        return False

    cdef bint wants_pieces(self):
        cdef Filter filter
        for filter in self.filters[self.first:]:
            if filter is not None and self.piece_hook(filter) is not None:
                return True
        return False

    cdef str hook_name(self):
        return STAGES[self.stage] if self.stage < LANE_OPEN else ""

    cdef object whole_hook(self, Filter filter): return None
    cdef object piece_hook(self, Filter filter): return None
    cdef object head_hook(self, Filter filter): return None
    cdef object invoke(self, Filter filter): return None
    cdef void head_done(self): pass
    cdef void emit(self, bytes piece, bint last): pass
    cdef void answer(self, Filter filter, Answer answer): pass
    cdef void refuse(self, Filter filter, int status, bytes details): pass
    cdef void flush(self): pass
