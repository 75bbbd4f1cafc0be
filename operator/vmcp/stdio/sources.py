"""Which server is meant: by what the command line says."""

from collections.abc import Sequence
from pathlib import Path

from vmcp.gateway.kubewatch import ServiceAccount
from vmcp.stdio.attach import Source


class SourceProblem(ValueError):
    """The options name no server. `option` is the one to mend."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


def source_of(
    *, command: Sequence[str] | None, namespace: str, pod: str, container: str, kubeconfig: Path | None
) -> Source:
    """The server.

    Args:
        command: program and arguments; None = a container.

    Raises:
        SourceProblem: something is missing.
    """
    if command is not None:
        from vmcp.stdio.local import Command

        if not command:
            raise SourceProblem("--command", "needs a program: --command -- program arguments")
        return Command(command)
    # A laptop that starts its server needs none of this.
    from vmcp.stdio.cluster import KubeconfigCluster, OwnCluster
    from vmcp.stdio.podattach import Container, PodContainer

    if not namespace or not pod:
        raise SourceProblem("--pod", "give --namespace and --pod, or --command -- program arguments")
    which = Container(namespace, pod, container)
    if kubeconfig is not None:
        return PodContainer(KubeconfigCluster(kubeconfig), which)
    account = ServiceAccount.of_this_pod()
    if account is None:
        raise SourceProblem("--kubeconfig", "is needed outside of a pod")
    return PodContainer(OwnCluster(account), which)
