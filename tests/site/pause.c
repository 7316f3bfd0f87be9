/* SPDX-License-Identifier: Apache-2.0
 * The process that holds a Pod's namespaces: it waits, and collects children whose parents have died. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave(int signal) {
    (void)signal;
    _exit(0);
}

static void collect(int signal) {
    (void)signal;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

int main(void) {
    signal(SIGINT, leave);
    signal(SIGTERM, leave);
    signal(SIGCHLD, collect);
    for (;;)
        pause();
}
