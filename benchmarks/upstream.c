/* The provider behind every benchmark: one thread, epoll, HTTP/1.1 keep-alive on loopback.
 *
 * It must never be the bottleneck, so every answer is built once per (model, stream, include_usage) as one
 * block of bytes and then only sent. The model's name in the body says what to answer, so one and the same
 * request works directly, through nginx and through any gateway:
 *
 *   bench-1kb, bench-20kb      a chat completion of that size, with usage (anything unknown: 1 KB)
 *   bench-paced-200            "stream": true -> 200 chunks of 250 bytes, one each --pace-ms
 *   bench-unpaced-200          "stream": true -> the same, one write each, as fast as the socket takes them
 *   bench-burst-200            "stream": true -> the same, all in one write
 *
 * A stream ends with a usage chunk only where the body asks include_usage (then every chunk also carries
 * "usage":null, as OpenAI's do), then with [DONE]. GET /counts tells how many requests were answered.
 *
 * usage: upstream [--port N] [--pace-ms N]     port 0 (default) takes a free one; prints "listening PORT"
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENT_BYTES = 250,              /* "data: {...}\n\n", the size of an OpenAI chunk with a short delta */
    CHUNKS_MAX = 100000,
    SCRIPTS_MAX = 64,
    HEADER_BYTES_MAX = 64 * 1024,
    BODY_BYTES_MAX = 64 * 1024 * 1024,
    READ_BYTES = 64 * 1024,
    CONNECTIONS_MAX = 65536,        /* by file descriptor */
    NAME_BYTES = 64,
};

/* A growing block of bytes. */
struct bytes {
    char *at;
    size_t length, room;
};

/* An answer, built once: the bytes, and where each piece ends that is sent at one moment. */
struct script {
    char model[NAME_BYTES];
    bool stream, usage, paced, burst;
    struct bytes bytes;
    size_t *ends;
    int pieces;
};

struct connection {
    int fd;
    bool open, writing;             /* writing: EPOLLOUT is asked for */
    bool queued;                    /* waits in the heap for its next piece */
    struct bytes in;
    const struct script *script;    /* the answer under way, or NULL */
    size_t sent;
    int piece, released;            /* the piece being sent, and how many may be sent by now */
    int64_t due_ns;
};

static struct connection connections[CONNECTIONS_MAX];
static struct script scripts[SCRIPTS_MAX];
static int script_count;
static struct script counts_script;
static int *heap;                   /* file descriptors of paced streams, earliest due first */
static int heap_length;
static int poller, timer;
static int64_t pace_ns = 20 * 1000000LL;
static uint64_t answered;

static void die(const char *what) {
    fprintf(stderr, "upstream: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void reserve(struct bytes *bytes, size_t more) {
    if (bytes->length + more <= bytes->room)
        return;
    size_t room = bytes->room ? bytes->room : 4096;
    while (room < bytes->length + more)
        room *= 2;
    bytes->at = realloc(bytes->at, room);
    if (!bytes->at)
        die("memory");
    bytes->room = room;
}

static void append(struct bytes *bytes, const char *from, size_t length) {
    reserve(bytes, length);
    memcpy(bytes->at + bytes->length, from, length);
    bytes->length += length;
}

__attribute__((format(printf, 2, 3))) static void print(struct bytes *bytes, const char *format, ...) {
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof text)
        die("formatting");
    append(bytes, text, (size_t)length);
}

/* ---- answers ------------------------------------------------------------------------------------- */

static const char LOREM[] =
    "the price of every answer is known before the invoice arrives and so nobody is surprised at the end of "
    "the month because each request carries its customer and its feature and each attempt its cost ";

/* Exactly `length` characters of prose from its character `from` on, safe inside a JSON string. */
static void prose(struct bytes *bytes, size_t from, size_t length) {
    for (from %= sizeof LOREM - 1; length; from = 0) {
        size_t rest = sizeof LOREM - 1 - from, part = length < rest ? length : rest;
        append(bytes, LOREM + from, part);
        length -= part;
    }
}

static const char USAGE[] =
    "{\"prompt_tokens\":220,\"completion_tokens\":%d,\"total_tokens\":%d,\"prompt_tokens_details\":"
    "{\"cached_tokens\":64,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0,"
    "\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}";

static void print_usage(struct bytes *bytes, int output_tokens) {
    print(bytes, USAGE, output_tokens, 220 + output_tokens);
}

static void end_piece(struct script *script) {
    script->ends[script->pieces++] = script->bytes.length;
}

static void build_completion(struct script *script, size_t size) {
    struct bytes head = {0}, tail = {0};
    print(&head,
          "{\"id\":\"chatcmpl-C9bench0000000000000000000001\",\"object\":\"chat.completion\",\"created\":1760000000,"
          "\"model\":\"%s\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"",
          script->model);
    print(&tail, "\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":");
    print_usage(&tail, 150);
    print(&tail, ",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\"}");
    size_t fixed = head.length + tail.length;
    prose(&head, 0, size > fixed ? size - fixed : 1);
    append(&head, tail.at, tail.length);
    print(&script->bytes,
          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
          "openai-processing-ms: 1\r\nx-request-id: req_bench\r\n\r\n",
          head.length);
    append(&script->bytes, head.at, head.length);
    script->ends = calloc(1, sizeof *script->ends);
    end_piece(script);
    free(head.at);
    free(tail.at);
}

/* One server-sent event as one HTTP chunk. */
static void wrap_event(struct script *script, const struct bytes *event) {
    print(&script->bytes, "%zx\r\n", event->length);
    append(&script->bytes, event->at, event->length);
    append(&script->bytes, "\r\n", 2);
}

static const char CHUNK_HEAD[] =
    "data: {\"id\":\"chatcmpl-C9bench01\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,"
    "\"model\":\"%s\",\"choices\":[";

static void build_chunk(struct script *script, int index, int chunks) {
    struct bytes event = {0};
    const char *finish = index == chunks - 1 ? "\"stop\"" : "null";
    const char *usage = script->usage ? ",\"usage\":null}\n\n" : "}\n\n";
    print(&event, CHUNK_HEAD, script->model);
    print(&event, "{\"index\":0,\"delta\":{%s\"content\":\"", index == 0 ? "\"role\":\"assistant\"," : "");
    size_t fixed = event.length + strlen("\"},\"finish_reason\":}]") + strlen(finish) + strlen(usage);
    /* Like a model's, no chunk repeats the one before: some gateways take that for a fault of the model. */
    size_t length = EVENT_BYTES > fixed ? EVENT_BYTES - fixed : 1;
    prose(&event, (size_t)index * length, length);
    print(&event, "\"},\"finish_reason\":%s}]%s", finish, usage);
    wrap_event(script, &event);
    free(event.at);
}

static void build_stream(struct script *script, int chunks) {
    script->ends = calloc((size_t)chunks + 1, sizeof *script->ends);
    print(&script->bytes,
          "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n"
          "Cache-Control: no-cache\r\nopenai-processing-ms: 1\r\nx-request-id: req_bench\r\n\r\n");
    for (int index = 0; index < chunks; index++) {
        build_chunk(script, index, chunks);
        if (!script->burst)
            end_piece(script);
    }
    if (script->usage) {
        struct bytes event = {0};
        print(&event, CHUNK_HEAD, script->model);
        print(&event, "],\"usage\":");
        print_usage(&event, chunks);
        print(&event, "}\n\n");
        wrap_event(script, &event);
        free(event.at);
    }
    print(&script->bytes, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    end_piece(script);
}

static int number_after(const char *model, const char *prefix, int otherwise) {
    size_t length = strlen(prefix);
    if (strncmp(model, prefix, length) != 0 || !isdigit((unsigned char)model[length]))
        return otherwise;
    int number = atoi(model + length);
    return number < 1 ? 1 : number > CHUNKS_MAX ? CHUNKS_MAX : number;
}

static const struct script *script_for(const char *model, bool stream, bool usage) {
    for (int i = 0; i < script_count; i++)
        if (scripts[i].stream == stream && scripts[i].usage == usage && strcmp(scripts[i].model, model) == 0)
            return &scripts[i];
    if (script_count == SCRIPTS_MAX)
        return &scripts[0];
    struct script *script = &scripts[script_count++];
    snprintf(script->model, sizeof script->model, "%s", model);
    script->stream = stream;
    script->usage = usage;
    script->paced = strncmp(model, "bench-paced-", 12) == 0;
    script->burst = strncmp(model, "bench-burst-", 12) == 0;
    int chunks = number_after(model, "bench-paced-", 200);
    chunks = number_after(model, "bench-burst-", chunks);
    if (stream)
        build_stream(script, number_after(model, "bench-unpaced-", chunks));
    else
        build_completion(script, (size_t)number_after(model, "bench-", 1) * 1024);
    return script;
}

static const struct script *counts(void) {
    char text[64];
    int length = snprintf(text, sizeof text, "{\"requests\":%" PRIu64 "}", answered);
    free(counts_script.bytes.at);
    free(counts_script.ends);
    memset(&counts_script, 0, sizeof counts_script);
    print(&counts_script.bytes, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
          length, text);
    counts_script.ends = calloc(1, sizeof *counts_script.ends);
    end_piece(&counts_script);
    return &counts_script;
}

static const struct script *refusal(struct script *script, const char *status) {
    if (!script->pieces) {
        print(&script->bytes, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", status);
        script->ends = calloc(1, sizeof *script->ends);
        end_piece(script);
    }
    return script;
}

/* ---- reading the request ------------------------------------------------------------------------- */

/* True when `"name"` is followed by `: true` in the body. Our own bodies do not repeat these names. */
static bool says_true(const char *body, size_t length, const char *name) {
    const char *at = memmem(body, length, name, strlen(name));
    if (!at)
        return false;
    const char *end = body + length;
    for (at += strlen(name); at < end && (*at == ' ' || *at == ':'); at++)
        ;
    return end - at >= 4 && memcmp(at, "true", 4) == 0;
}

static const struct script *answer(const char *body, size_t length) {
    char model[NAME_BYTES] = "bench-1kb";
    const char *name = memmem(body, length, "\"bench-", 7);
    if (name) {
        size_t used = 0;
        for (name++; name < body + length && *name != '"' && used < sizeof model - 1; name++)
            if (isalnum((unsigned char)*name) || *name == '-' || *name == '.')
                model[used++] = *name;
        model[used] = 0;
    }
    answered++;
    return script_for(model, says_true(body, length, "\"stream\""), says_true(body, length, "\"include_usage\""));
}

static bool same_name(const char *line, const char *name) {
    return strncasecmp(line, name, strlen(name)) == 0;
}

/* Takes one whole request off the input; NULL when more must be read. */
static const struct script *take_request(struct connection *connection) {
    static struct script not_found, length_required, too_large;
    struct bytes *in = &connection->in;
    char *end = memmem(in->at, in->length, "\r\n\r\n", 4);
    if (!end && in->length <= HEADER_BYTES_MAX)
        return NULL;
    if (!end) {
        in->length = 0;
        return refusal(&too_large, "413 Content Too Large");
    }
    size_t head = (size_t)(end - in->at) + 4, body = 0;
    for (char *line = memchr(in->at, '\n', head); line && line + 1 < end; line = memchr(line, '\n', (size_t)(end - line))) {
        line++;
        if (same_name(line, "content-length:"))
            body = strtoull(line + 15, NULL, 10);
        else if (same_name(line, "transfer-encoding:")) {
            in->length = 0;
            return refusal(&length_required, "411 Length Required");
        }
    }
    if (body > BODY_BYTES_MAX) {
        in->length = 0;
        return refusal(&too_large, "413 Content Too Large");
    }
    if (in->length < head + body) {
        reserve(in, head + body - in->length);
        return NULL;
    }
    const struct script *script;
    const char *line_end = memchr(in->at, '\r', head);
    if (strncmp(in->at, "GET /counts", 11) == 0)
        script = counts();
    else if (memmem(in->at, (size_t)(line_end - in->at), "/chat/completions", 17))
        script = answer(in->at + head, body);
    else
        script = refusal(&not_found, "404 Not Found");
    in->length -= head + body;
    memmove(in->at, in->at + head + body, in->length);
    return script;
}

/* ---- the heap of paced streams ------------------------------------------------------------------- */

static bool earlier(int a, int b) {
    return connections[heap[a]].due_ns < connections[heap[b]].due_ns;
}

static void swap(int a, int b) {
    int fd = heap[a];
    heap[a] = heap[b];
    heap[b] = fd;
}

static void queue(struct connection *connection) {
    int at = heap_length++;
    heap[at] = connection->fd;
    connection->queued = true;
    for (; at && earlier(at, (at - 1) / 2); at = (at - 1) / 2)
        swap(at, (at - 1) / 2);
}

static void sink(int at) {
    for (;;) {
        int least = at, left = 2 * at + 1;
        if (left < heap_length && earlier(left, least))
            least = left;
        if (left + 1 < heap_length && earlier(left + 1, least))
            least = left + 1;
        if (least == at)
            return;
        swap(at, least);
        at = least;
    }
}

static void unqueue_first(void) {
    connections[heap[0]].queued = false;
    heap[0] = heap[--heap_length];
    sink(0);
}

static void unqueue(struct connection *connection) {
    if (!connection->queued)
        return;
    connection->due_ns = INT64_MIN;         /* earliest of all: lift it to the top and take it off */
    for (int at = 0; at < heap_length; at++)
        if (heap[at] == connection->fd) {
            for (; at && earlier(at, (at - 1) / 2); at = (at - 1) / 2)
                swap(at, (at - 1) / 2);
            break;
        }
    unqueue_first();
}

static void arm_timer(void) {
    static int64_t armed_ns;
    int64_t due = heap_length ? connections[heap[0]].due_ns : 0;
    if (due == armed_ns)
        return;
    struct itimerspec when = {.it_value = {.tv_sec = due / 1000000000LL, .tv_nsec = due % 1000000000LL}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
    armed_ns = due;
}

/* ---- sending ------------------------------------------------------------------------------------- */

static void drop(struct connection *connection) {
    unqueue(connection);
    close(connection->fd);              /* leaves the poller by itself */
    connection->open = false;
}

static void want_write(struct connection *connection, bool wanted) {
    if (connection->writing == wanted)
        return;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0u), .data.fd = connection->fd};
    epoll_ctl(poller, EPOLL_CTL_MOD, connection->fd, &event);
    connection->writing = wanted;
}

/* Sends what is released, each piece with a write of its own. False when the connection is gone. */
static bool send_released(struct connection *connection) {
    const struct script *script = connection->script;
    while (connection->piece < connection->released) {
        size_t left = script->ends[connection->piece] - connection->sent;
        ssize_t sent = send(connection->fd, script->bytes.at + connection->sent, left, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            want_write(connection, true);
            return true;
        }
        if (sent < 0) {
            drop(connection);
            return false;
        }
        connection->sent += (size_t)sent;
        if ((size_t)sent == left)
            connection->piece++;
    }
    want_write(connection, false);
    if (connection->piece == script->pieces)
        connection->script = NULL;
    return true;
}

static bool start_answers(struct connection *connection) {
    while (!connection->script) {
        const struct script *script = take_request(connection);
        if (!script)
            return true;
        connection->script = script;
        connection->sent = 0;
        connection->piece = 0;
        connection->released = script->paced ? 1 : script->pieces;
        if (!send_released(connection))
            return false;
        if (connection->released < script->pieces) {
            connection->due_ns = now_ns() + pace_ns;
            queue(connection);
        }
    }
    return true;
}

static void release_due(void) {
    uint64_t expirations;
    if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
        die("timer");
    int64_t now = now_ns();
    while (heap_length && connections[heap[0]].due_ns <= now) {
        struct connection *connection = &connections[heap[0]];
        unqueue_first();
        bool last = ++connection->released == connection->script->pieces;
        if (!send_released(connection))
            continue;
        if (!last) {
            connection->due_ns += pace_ns;
            queue(connection);
        } else if (!connection->script) {
            start_answers(connection);
        }
    }
}

static void read_more(struct connection *connection) {
    for (;;) {
        reserve(&connection->in, READ_BYTES);
        ssize_t got = recv(connection->fd, connection->in.at + connection->in.length,
                           connection->in.room - connection->in.length, 0);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (got <= 0) {
            drop(connection);
            return;
        }
        bool full = (size_t)got == connection->in.room - connection->in.length;
        connection->in.length += (size_t)got;
        if (connection->in.length > BODY_BYTES_MAX + HEADER_BYTES_MAX) {
            drop(connection);
            return;
        }
        if (!start_answers(connection) || !full)
            return;
    }
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (fd >= CONNECTIONS_MAX) {
            close(fd);
            continue;
        }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *connection = &connections[fd];
        struct bytes kept = connection->in;
        memset(connection, 0, sizeof *connection);
        kept.length = 0;
        connection->in = kept;
        connection->fd = fd;
        connection->open = true;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
            die("epoll_ctl");
    }
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0)
        die("listen");
    getsockname(fd, (struct sockaddr *)&address, &length);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int count, char **words) {
    int port = 0;
    for (int i = 1; i + 1 < count; i += 2) {
        if (strcmp(words[i], "--port") == 0)
            port = atoi(words[i + 1]);
        else if (strcmp(words[i], "--pace-ms") == 0)
            pace_ns = (int64_t)(atof(words[i + 1]) * 1e6);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);       /* never outlives the benchmark that started it */
    signal(SIGPIPE, SIG_IGN);
    heap = calloc(CONNECTIONS_MAX, sizeof *heap);
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int listener = listen_on(port);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = timer;
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);
    struct epoll_event events[512];
    for (;;) {
        int ready = epoll_wait(poller, events, 512, -1);
        if (ready < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            struct connection *connection = &connections[fd];
            if (fd == listener)
                accept_all(listener);
            else if (fd == timer)
                release_due();
            else if (connection->open) {
                if (events[i].events & (EPOLLHUP | EPOLLERR)) {
                    drop(connection);
                    continue;
                }
                if ((events[i].events & EPOLLOUT) && connection->script && !send_released(connection))
                    continue;
                if (!connection->script && !start_answers(connection))
                    continue;
                if (events[i].events & EPOLLIN)
                    read_more(connection);
            }
        }
        arm_timer();
    }
}
