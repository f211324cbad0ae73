/* Says on port 8080 what /etc/device.conf says. A static program of one file. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
    struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(8080), .sin6_addr = in6addr_any };
    const struct timeval patience = { .tv_sec = 5 };
    const int yes = 1;
    char settings[1024], page[1200], request[4096];
    FILE *file = fopen("/etc/device.conf", "re");
    size_t length = file ? fread(settings, 1, sizeof settings, file) : 0;
    int size = snprintf(page, sizeof page, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                        "Connection: close\r\n\r\n%.*s", length, (int)length, settings);
    int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    signal(SIGPIPE, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 64)) {
        perror("device: port 8080");
        return 1;
    }
    for (;;) {
        int client = accept(listener, NULL, NULL);

        if (client < 0)
            continue;
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (read(client, request, sizeof request) > 0)
            (void)!write(client, page, (size_t)size);
        close(client);
    }
}
