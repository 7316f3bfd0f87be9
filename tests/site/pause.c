/* SPDX-License-Identifier: Apache-2.0
 * The process that holds a Pod's namespaces: it waits, and collects children whose parents have died. With -v it ends
 * at once, which kubeadm's check of a cluster's health relies on. */
#include <signal.h>
#include <string.h>
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

int main(int count, char **arguments) {
    if (count > 1 && strcmp(arguments[1], "-v") == 0)
        return 0;
    signal(SIGINT, leave);
    signal(SIGTERM, leave);
    signal(SIGCHLD, collect);
    for (;;)
        pause();
}
