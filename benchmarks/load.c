/* The client behind every benchmark: one thread, epoll, HTTP/1.1 keep-alive, no allocation while it runs.
 *
 * Closed loop by default: each of K connections sends its next request when the former answer is complete.
 * With --rate R it is an open loop: requests are due at fixed moments and their latency counts from the
 * moment they were due, so a stalling server cannot hide its stall. It stops sending at --duration-ms or
 * after --requests, then waits for the answers under way (at most --grace-ms), so that every request it
 * counts was wholly served and CPU time can be divided by it.
 *
 * usage: load --port N --path P --body FILE [--headers FILE] [--host 127.0.0.1] [--connections K]
 *             [--duration-ms D | --requests N] [--rate R] [--ramp-ms M] [--grace-ms G]
 *
 * FILE of headers: one "Name: value" a line. Prints one JSON object:
 *   requests, errors {connect, reset, status, incomplete, unfinished}, status {code: count}, events ("data:"
 *   lines but for [DONE]), done ([DONE] lines), events_min, events_max (per stream), body_bytes, late
 *   (open loop: due while all connections were busy), wall_ms, cpu_us, and quantiles in microseconds
 *   {mean, p50, p90, p99, p999, max} of latency, first_byte (request sent -> first byte of the answer) and
 *   gap (between two reads that brought an event of one stream).
 * Exit status 0 even with errors: who asks must look at them; 2 when it cannot run at all.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD_BYTES_MAX = 32 * 1024,
    READ_BYTES = 256 * 1024,
    SUB_BITS = 6,                   /* 64 steps per power of two: quantiles within 1.6 % */
    BUCKETS = (64 - SUB_BITS) << SUB_BITS,
    RECONNECT_MS = 20,              /* a refused or failed connection is tried again after this */
};

struct histogram {
    uint64_t counts[BUCKETS], count, total_ns, max_ns;
};

enum state { IDLE, SENDING, HEAD, SIZED, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, UNTIL_CLOSE };

struct client {
    int fd;                         /* -1: not connected */
    enum state state;
    bool writing, closes, failed, fresh;
    size_t sent;
    char head[HEAD_BYTES_MAX];
    size_t head_length;
    int status;
    uint64_t left;                  /* bytes left of the sized body or of the chunk */
    int line_length;                /* length of the trailer line, or digits of the chunk size */
    char line[16];                  /* beginning of the current line of the body */
    int line_used;
    uint64_t events;
    bool done;
    int64_t due_ns, sent_ns, first_ns, event_ns;
    int64_t wake_ns;                /* when to start or to connect again; 0: not waiting */
};

static struct client *clients;
static int connection_count = 1;
static int poller, timer;
static struct sockaddr_in server;
static char *request;
static size_t request_length;

static struct histogram latency, first_byte, gap;
static uint64_t started, completed, limit_requests, events_total, done_total, body_bytes, late;
static uint64_t failed_connect, failed_reset, failed_status, failed_incomplete, unfinished;
static uint64_t status_counts[1000];
static uint64_t events_min = UINT64_MAX, events_max;
static int64_t begin_ns, stop_ns, interval_ns, next_due_ns;
static int active;
static bool shown_error;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* ---- quantiles ----------------------------------------------------------------------------------- */

static void record(struct histogram *histogram, int64_t duration_ns) {
    uint64_t value = duration_ns < 0 ? 0 : (uint64_t)duration_ns;
    int bucket = (int)value;
    if (value >= (1u << SUB_BITS)) {
        int shift = 63 - __builtin_clzll(value) - SUB_BITS;
        bucket = ((shift + 1) << SUB_BITS) + (int)((value >> shift) & ((1u << SUB_BITS) - 1));
    }
    histogram->counts[bucket]++;
    histogram->count++;
    histogram->total_ns += value;
    if (value > histogram->max_ns)
        histogram->max_ns = value;
}

static double lower_edge_us(int bucket) {
    int shift = (bucket >> SUB_BITS) - 1;
    uint64_t low = (uint64_t)bucket & ((1u << SUB_BITS) - 1);
    return (double)(shift < 0 ? low : (low + (1u << SUB_BITS)) << shift) / 1000.0;
}

static double quantile_us(const struct histogram *histogram, double share) {
    uint64_t seen = 0, wanted = (uint64_t)(share * (double)histogram->count);
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        seen += histogram->counts[bucket];
        if (seen > wanted)
            return lower_edge_us(bucket);
    }
    return (double)histogram->max_ns / 1000.0;
}

static void print_histogram(const char *name, const struct histogram *histogram) {
    printf("\"%s\":", name);
    if (!histogram->count) {
        printf("null");
        return;
    }
    printf("{\"count\":%" PRIu64 ",\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}",
           histogram->count, (double)histogram->total_ns / 1000.0 / (double)histogram->count,
           quantile_us(histogram, 0.5), quantile_us(histogram, 0.9), quantile_us(histogram, 0.99),
           quantile_us(histogram, 0.999), (double)histogram->max_ns / 1000.0);
}

/* ---- one client's life --------------------------------------------------------------------------- */

static void watch(struct client *client, bool writing) {
    if (client->writing == writing)
        return;
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0u), .data.ptr = client};
    epoll_ctl(poller, EPOLL_CTL_MOD, client->fd, &event);
    client->writing = writing;
}

static void disconnect(struct client *client) {
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->writing = false;
}

static bool connect_now(struct client *client) {
    int one = 1;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        die("socket");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(client->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) {
        disconnect(client);
        return false;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = client};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event) < 0)
        die("epoll_ctl");
    client->writing = true;
    client->fresh = true;
    return true;
}

static void finish(struct client *client, uint64_t *failure) {
    if (failure) {
        ++*failure;
        disconnect(client);
    }
    client->state = IDLE;
    client->failed = failure != NULL;
    active--;
}

static void send_request(struct client *client) {
    while (client->sent < request_length) {
        ssize_t sent = send(client->fd, request + client->sent, request_length - client->sent, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            watch(client, true);
            return;
        }
        if (sent < 0) {
            finish(client, client->fresh && !client->sent ? &failed_connect : &failed_reset);
            return;
        }
        client->sent += (size_t)sent;
    }
    watch(client, false);
    client->sent_ns = now_ns();
    client->state = HEAD;
}

static bool may_start(int64_t now) {
    return limit_requests ? started < limit_requests : now < stop_ns;
}

static void start(struct client *client, int64_t due_ns) {
    started++;
    active++;
    client->state = SENDING;
    client->sent = client->head_length = 0;
    client->line_used = client->line_length = 0;
    client->events = 0;
    client->done = client->closes = false;
    client->due_ns = due_ns;
    client->first_ns = client->event_ns = 0;
    client->wake_ns = 0;
    if (client->fd < 0) {
        if (!connect_now(client))
            finish(client, &failed_connect);
        return;                     /* sends when the connection is ready */
    }
    send_request(client);
}

static void complete(struct client *client, int64_t now) {
    if (client->status < 200 || client->status > 299) {
        finish(client, &failed_status);
        return;
    }
    completed++;
    record(&latency, now - client->due_ns);
    record(&first_byte, client->first_ns - client->sent_ns);
    if (client->events) {
        if (client->events < events_min)
            events_min = client->events;
        if (client->events > events_max)
            events_max = client->events;
    }
    if (client->closes)
        disconnect(client);
    finish(client, NULL);
}

/* ---- reading the answer -------------------------------------------------------------------------- */

static void end_line(struct client *client) {
    if (client->line_used >= 5 && memcmp(client->line, "data:", 5) == 0) {
        if (client->line_used >= 12 && memcmp(client->line, "data: [DONE]", 12) == 0) {
            client->done = true;
            done_total++;
        } else {
            client->events++;
            events_total++;
        }
    }
    client->line_used = 0;
}

/* Counts "data:" lines in a piece of the body; lines may be split anywhere. */
static void scan_body(struct client *client, const char *at, size_t length) {
    const char *end = at + length;
    body_bytes += length;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;
        for (const char *from = at; from < stop && client->line_used < (int)sizeof client->line; from++)
            client->line[client->line_used++] = *from;
        if (!newline)
            return;
        end_line(client);
        at = newline + 1;
    }
}

static void show_error(const struct client *client, const char *at, size_t length) {
    if (shown_error)
        return;
    shown_error = true;
    fprintf(stderr, "load: first refusal: HTTP %d: %.*s\n", client->status, (int)(length < 400 ? length : 400), at);
}

/* Reads the head. Returns how many of `length` bytes it took; the state tells whether it is whole. */
static size_t take_head(struct client *client, const char *at, size_t length) {
    size_t room = HEAD_BYTES_MAX - 1 - client->head_length, part = length < room ? length : room;
    size_t before = client->head_length;
    memcpy(client->head + before, at, part);
    client->head_length += part;
    client->head[client->head_length] = 0;
    char *end = memmem(client->head, client->head_length, "\r\n\r\n", 4);
    if (!end)
        return part;
    end[2] = 0;
    client->status = client->head_length > 12 ? atoi(client->head + 9) : 0;
    if (client->status < 0 || client->status > 999)
        client->status = 0;
    status_counts[client->status]++;
    client->state = UNTIL_CLOSE;
    client->closes = strncmp(client->head, "HTTP/1.0", 8) == 0;
    for (char *line = strchr(client->head, '\n'); line; line = strchr(line, '\n')) {
        line++;
        if (strncasecmp(line, "content-length:", 15) == 0) {
            client->state = SIZED;
            client->left = strtoull(line + 15, NULL, 10);
        } else if (strncasecmp(line, "transfer-encoding:", 18) == 0 && strncasecmp(line + 18, " chunked", 8) == 0) {
            client->state = CHUNK_SIZE;
            client->left = 0;
            client->line_length = 0;
        } else if (strncasecmp(line, "connection: close", 17) == 0) {
            client->closes = true;
        }
    }
    if (client->state == UNTIL_CLOSE)
        client->closes = true;
    return (size_t)(end + 4 - client->head) - before;
}

/* Takes the bytes of one read. True when the answer is whole. */
static bool take(struct client *client, const char *at, size_t length) {
    const char *end = at + length;
    while (at < end) {
        size_t part = (size_t)(end - at);
        switch (client->state) {
        case HEAD:
            at += take_head(client, at, part);
            if (client->state == SIZED && !client->left)
                return true;
            if (client->state == HEAD && client->head_length == HEAD_BYTES_MAX - 1)
                return false;
            if (client->state != HEAD && client->status >= 300)
                show_error(client, at, (size_t)(end - at));
            break;
        case SIZED:
        case CHUNK_DATA:
            if (part > client->left)
                part = client->left;
            scan_body(client, at, part);
            at += part;
            client->left -= part;
            if (!client->left && client->state == SIZED)
                return true;
            if (!client->left)
                client->state = CHUNK_END;
            break;
        case UNTIL_CLOSE:
            scan_body(client, at, part);
            return false;
        case CHUNK_SIZE: {
            char letter = *at++;
            if (letter == '\n') {
                client->state = client->left ? CHUNK_DATA : TRAILER;
                client->line_length = 0;
            } else if (client->line_length >= 0 && isxdigit((unsigned char)letter)) {
                int digit = isdigit((unsigned char)letter) ? letter - '0' : (letter | 32) - 'a' + 10;
                client->left = client->left * 16 + (uint64_t)digit;
            } else {
                client->line_length = -1;       /* the size is over: an extension or the line's end */
            }
            break;
        }
        case CHUNK_END:
            if (*at++ == '\n') {
                client->state = CHUNK_SIZE;
                client->line_length = 0;
            }
            break;
        case TRAILER:
            if (*at == '\n') {
                if (!client->line_length)
                    return true;
                client->line_length = 0;
            } else if (*at != '\r') {
                client->line_length++;
            }
            at++;
            break;
        default:
            return false;               /* bytes that nobody asked for */
        }
    }
    return false;
}

static void read_answer(struct client *client) {
    static char buffer[READ_BYTES];
    for (;;) {
        ssize_t got = recv(client->fd, buffer, sizeof buffer, 0);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        int64_t now = now_ns();
        if (got <= 0) {
            if (client->state == IDLE) {
                disconnect(client);     /* an idle connection may end; the next request opens another */
            } else if (client->state == UNTIL_CLOSE && got == 0) {
                complete(client, now);
            } else {
                finish(client, client->fresh && client->state == SENDING ? &failed_connect : &failed_reset);
            }
            return;
        }
        if (client->state == IDLE || client->state == SENDING) {
            if (client->state == SENDING)
                finish(client, &failed_reset);
            else
                disconnect(client);
            return;
        }
        client->fresh = false;
        if (!client->first_ns)
            client->first_ns = now;
        uint64_t before = client->events;
        bool whole = take(client, buffer, (size_t)got);
        if (client->events > before) {
            if (client->event_ns)
                record(&gap, now - client->event_ns);
            client->event_ns = now;
        }
        if (whole) {
            if (client->events && !client->done)
                finish(client, &failed_incomplete);
            else
                complete(client, now);
            return;
        }
        if (client->state == HEAD && client->head_length == HEAD_BYTES_MAX - 1) {
            finish(client, &failed_reset);
            return;
        }
        if ((size_t)got < sizeof buffer)
            return;
    }
}

/* ---- the loop ------------------------------------------------------------------------------------ */

static void next_request(struct client *client, int64_t now) {
    if (interval_ns || !may_start(now))
        return;
    if (client->failed) {
        client->wake_ns = now + RECONNECT_MS * 1000000LL;
        client->failed = false;
        return;
    }
    start(client, now);
}

/* Starts what is due: ramped and retried clients, and the open loop's requests. Returns the next moment. */
static int64_t start_due(int64_t now) {
    int64_t next = INT64_MAX;
    if (interval_ns) {
        int free_client = 0;
        while (next_due_ns <= now && may_start(next_due_ns)) {
            while (free_client < connection_count && clients[free_client].state != IDLE)
                free_client++;
            if (free_client == connection_count) {
                late++;
                break;
            }
            start(&clients[free_client], next_due_ns);
            next_due_ns += interval_ns;
        }
        return may_start(next_due_ns) ? (next_due_ns > now ? next_due_ns : now + 100000) : INT64_MAX;
    }
    for (int i = 0; i < connection_count; i++) {
        struct client *client = &clients[i];
        if (!client->wake_ns)
            continue;
        if (client->wake_ns <= now) {
            client->wake_ns = 0;
            if (may_start(now))
                start(client, now);
            if (client->state == IDLE)
                next_request(client, now);
        }
        if (client->wake_ns && client->wake_ns < next)
            next = client->wake_ns;
    }
    return next;
}

static void sleep_until(int64_t when_ns) {
    struct itimerspec when = {0};
    if (when_ns != INT64_MAX) {
        when.it_value.tv_sec = when_ns / 1000000000LL;
        when.it_value.tv_nsec = when_ns % 1000000000LL;
    }
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static bool waiting(void) {
    for (int i = 0; i < connection_count; i++)
        if (clients[i].wake_ns)
            return true;
    return false;
}

static void run(int64_t grace_ns) {
    struct epoll_event events[512];
    int64_t armed = 0, now = now_ns(), last = INT64_MAX;
    for (;;) {
        int64_t next = start_due(now);
        bool more = may_start(now) && (interval_ns || active || waiting());
        if (!more && !active)
            return;
        if (!may_start(now) && last == INT64_MAX)
            last = now + grace_ns;
        if (now >= last) {
            unfinished = (uint64_t)active;
            return;
        }
        if (next > last)
            next = last;
        if (next == INT64_MAX && !limit_requests && now < stop_ns)
            next = stop_ns;
        if (next != armed) {
            sleep_until(next);
            armed = next;
        }
        int ready = epoll_wait(poller, events, 512, -1);
        if (ready < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            if (!client) {
                uint64_t expirations;
                if (read(timer, &expirations, sizeof expirations) > 0)
                    armed = 0;
                continue;
            }
            if (client->fd < 0)
                continue;
            if (client->state == SENDING && (events[i].events & EPOLLOUT))
                send_request(client);
            if (client->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                read_answer(client);
            if (client->state == IDLE)
                next_request(client, now_ns());
        }
        now = now_ns();
    }
}

static char *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    if (!file)
        die(path);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *text = calloc(1, (size_t)size + 1);
    if (!text || fread(text, 1, (size_t)size, file) != (size_t)size)
        die(path);
    fclose(file);
    *length = (size_t)size;
    return text;
}

static void build_request(const char *host, int port, const char *path, const char *headers, const char *body) {
    size_t body_length = 0, headers_length = 0;
    char *content = read_file(body, &body_length);
    char *lines = headers ? read_file(headers, &headers_length) : calloc(1, 1);
    size_t room = body_length + 2 * headers_length + strlen(path) + strlen(host) + 256;
    request = calloc(1, room);
    size_t used = (size_t)sprintf(request, "POST %s HTTP/1.1\r\nHost: %s:%d\r\n", path, host, port);
    for (char *line = strtok(lines, "\r\n"); line; line = strtok(NULL, "\r\n"))
        used += (size_t)sprintf(request + used, "%s\r\n", line);
    used += (size_t)sprintf(request + used, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", body_length);
    memcpy(request + used, content, body_length);
    request_length = used + body_length;
    free(content);
    free(lines);
}

static void print_result(int64_t wall_ns) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu_us = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
                    (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    printf("{\"requests\":%" PRIu64 ",\"started\":%" PRIu64 ",", completed, started);
    printf("\"errors\":{\"connect\":%" PRIu64 ",\"reset\":%" PRIu64 ",\"status\":%" PRIu64 ",\"incomplete\":%" PRIu64
           ",\"unfinished\":%" PRIu64 "},\"status\":{",
           failed_connect, failed_reset, failed_status, failed_incomplete, unfinished);
    const char *comma = "";
    for (int code = 0; code < 1000; code++)
        if (status_counts[code]) {
            printf("%s\"%d\":%" PRIu64, comma, code, status_counts[code]);
            comma = ",";
        }
    printf("},\"events\":%" PRIu64 ",\"done\":%" PRIu64 ",\"events_min\":%" PRIu64 ",\"events_max\":%" PRIu64 ",",
           events_total, done_total, events_max ? events_min : 0, events_max);
    printf("\"body_bytes\":%" PRIu64 ",\"late\":%" PRIu64 ",\"wall_ms\":%.1f,\"cpu_us\":%.0f,", body_bytes, late,
           (double)wall_ns / 1e6, cpu_us);
    print_histogram("latency", &latency);
    putchar(',');
    print_histogram("first_byte", &first_byte);
    putchar(',');
    print_histogram("gap", &gap);
    printf("}\n");
}

int main(int count, char **words) {
    const char *host = "127.0.0.1", *path = "/v1/chat/completions", *headers = NULL, *body = NULL;
    int port = 0;
    double duration_ms = 1000, ramp_ms = 0, grace_ms = 30000, rate = 0;
    for (int i = 1; i + 1 < count; i += 2) {
        const char *name = words[i], *value = words[i + 1];
        if (!strcmp(name, "--host")) host = value;
        else if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--path")) path = value;
        else if (!strcmp(name, "--headers")) headers = value;
        else if (!strcmp(name, "--body")) body = value;
        else if (!strcmp(name, "--connections")) connection_count = atoi(value);
        else if (!strcmp(name, "--duration-ms")) duration_ms = atof(value);
        else if (!strcmp(name, "--requests")) limit_requests = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--rate")) rate = atof(value);
        else if (!strcmp(name, "--ramp-ms")) ramp_ms = atof(value);
        else if (!strcmp(name, "--grace-ms")) grace_ms = atof(value);
        else {
            fprintf(stderr, "load: unknown option %s\n", name);
            return 2;
        }
    }
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (!port || !body || connection_count < 1 || inet_pton(AF_INET, host, &server.sin_addr) != 1) {
        fprintf(stderr, "load: --port and --body are needed, --host must be an IPv4 address\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    build_request(host, port, path, headers, body);
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);
    clients = calloc((size_t)connection_count, sizeof *clients);
    if (!clients)
        die("memory");
    begin_ns = next_due_ns = now_ns();
    stop_ns = begin_ns + (int64_t)(duration_ms * 1e6);
    interval_ns = rate > 0 ? (int64_t)(1e9 / rate) : 0;
    for (int i = 0; i < connection_count; i++) {
        clients[i].fd = -1;
        clients[i].wake_ns = interval_ns ? 0 : begin_ns + (int64_t)(ramp_ms * 1e6 * i / connection_count);
    }
    run((int64_t)(grace_ms * 1e6));
    print_result(now_ns() - begin_ns);
    return 0;
}
