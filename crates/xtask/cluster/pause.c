/* The first process of every pod: holds the pod's namespaces, reaps what is left to it, ends when told. */
#include <signal.h>
#include <unistd.h>

static void end(int signal) {
	(void)signal;
	_exit(0);
}

int main(void) {
	struct sigaction ending = {.sa_handler = end};
	struct sigaction reaping = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
	sigaction(SIGINT, &ending, 0);
	sigaction(SIGTERM, &ending, 0);
	sigaction(SIGCHLD, &reaping, 0);
	for (;;)
		pause();
}
