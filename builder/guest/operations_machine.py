"""Operations on what makes a machine itself: users, provisioning, network, keys. See `operations_table`."""

from __future__ import annotations

from builder.guest.actions import (
    Delete,
    DropLines,
    Empty,
    Link,
    LockRootPassword,
    RemoveOrdinaryUsers,
    RemoveProvisionedUsers,
    RunFolder,
    RunProgram,
    Write,
)
from builder.guest.operation import Operation

RHEL = frozenset({"rhel"})
DEBIAN = frozenset({"debian"})

SNAKEOIL_UNIT = """\
[Unit]
Description=Make this machine's own self-signed certificate
ConditionPathExists=!/etc/ssl/private/ssl-cert-snakeoil.key
Before=postgresql.service apache2.service nginx.service postfix.service exim4.service dovecot.service
[Service]
Type=oneshot
ExecStart=/usr/sbin/make-ssl-cert generate-default-snakeoil --force-overwrite
[Install]
WantedBy=multi-user.target
"""

USERS = (
    Operation(
        "provisioned-user",
        "a clone would have the account, key and sudo rights of whoever provisioned the build machine",
        (RemoveProvisionedUsers(),),
        order=10,
        covers=("waagent:user",),
    ),
    Operation(
        "user-account",
        "off: ordinary accounts are as likely part of the image as left-overs",
        (RemoveOrdinaryUsers(),),
        default=False,
        order=11,
        covers=("virt-sysprep:user-account",),
    ),
    Operation(
        "root-password",
        "a known root password would open every VM; a hash in the image can be cracked at leisure",
        (LockRootPassword(),),
        order=20,
        covers=("waagent:root-password",),
    ),
    Operation(
        "cloud-init-sudoers",
        "gives the build machine's user every right; cloud-init writes it anew for the VM's own user",
        (Delete(("/etc/sudoers.d/90-cloud-init-users", "/etc/sudoers.d/waagent")),),
        order=21,
    ),
    Operation(
        "ssh-userdir",
        "keys in it open the clones, or what the build machine could reach; the spec's own keys stay",
        (Delete(("~/.ssh",)),),
        covers=("virt-sysprep:ssh-userdir",),
    ),
    Operation(
        "shell-history",
        "commands that were typed, with the passwords in them",
        (Delete(("~/.bash_history", "~/.zsh_history", "~/.ash_history", "~/.sh_history", "~/.history",
                 "~/.local/share/fish/fish_history")),),
        covers=("virt-sysprep:bash-history", "virt-sysprep:zsh-history", "waagent:history"),
    ),
    Operation(
        "program-history",
        "what was typed into editors, interpreters and database clients",
        (Delete(("~/.python_history", "~/.node_repl_history", "~/.viminfo", "~/.local/state/nvim/shada/*.shada",
                 "~/.lesshst", "~/.wget-hsts", "~/.mysql_history", "~/.psql_history", "~/.sqlite_history",
                 "~/.rediscli_history", "~/.mongosh/*_history*")),),
    ),
    Operation(
        "passwd-backups",
        "the account files as they were: removed users and old password hashes",
        (Delete(("/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-")),),
        order=60,
        covers=("virt-sysprep:passwd-backups",),
    ),
)  # fmt: skip

CLOUD = (
    Operation(
        "cloud-init-clean-hooks",
        "programs that the distribution wants run when an image is made of a machine",
        (RunFolder("/etc/cloud/clean.d"),),
        order=30,
        covers=("cloud-init:clean.d",),
    ),
    Operation(
        "cloud-init-instance",
        "with it, a clone believes that it has been provisioned already",
        (Delete(("/var/lib/cloud/data", "/var/lib/cloud/handlers", "/var/lib/cloud/instance",
                 "/var/lib/cloud/instances", "/var/lib/cloud/scripts", "/var/lib/cloud/sem",
                 "/var/lib/cloud/vendor", "/var/lib/cloud/tmp")),),
        covers=("cloud-init:instance",),
    ),
    Operation(
        "cloud-init-seed",
        "a seed would provision every VM with the same user data instead of Azure's",
        (Delete(("/var/lib/cloud/seed",)),),
        covers=("cloud-init:seed",),
    ),
    Operation(
        "cloud-init-network",
        "network settings of the build machine, with its MAC address; written anew at the first boot",
        (Delete(("/etc/netplan/50-cloud-init.yaml", "/etc/NetworkManager/conf.d/99-cloud-init.conf",
                 "/etc/NetworkManager/conf.d/30-cloud-init-ip6-addr-gen-mode.conf",
                 "/etc/NetworkManager/system-connections/cloud-init-*.nmconnection",
                 "/etc/systemd/network/10-cloud-init-*.network", "/etc/network/interfaces.d/50-cloud-init",
                 "/etc/network/interfaces.d/50-cloud-init.cfg")),),
        covers=("cloud-init:network",),
    ),
    Operation(
        "cloud-init-ssh-config",
        "whether passwords may log in was decided for the build machine",
        (Delete(("/etc/ssh/sshd_config.d/50-cloud-init.conf",)),),
        covers=("cloud-init:ssh_config",),
    ),
    Operation(
        "cloud-init-fstab",
        "mounts of the build machine's temporary disk; cloud-init adds the VM's own",
        (DropLines(("/etc/fstab",), r"comment=cloudconfig", "cloud-init's lines"),),
        covers=("cloud-init:fstab",),
    ),
    Operation(
        "waagent-state",
        "certificates with private keys, the provisioning data and the goal state of the build machine",
        (Empty(("/var/lib/waagent",)),),
        covers=("waagent:state",),
    ),
    Operation(
        "waagent-units",
        "firewall and accounting settings that the agent made for the build machine, and makes again",
        (Delete(tuple(
            f"{folder}/{name}"
            for folder in ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
            for name in ("waagent-network-setup.service", "multi-user.target.wants/waagent-network-setup.service",
                         "w*agent.service.d/10-Slice.conf", "w*agent.service.d/11-CPUAccounting.conf",
                         "w*agent.service.d/12-CPUQuota.conf", "w*agent.service.d/13-MemoryAccounting.conf",
                         "azure-walinuxagent-logcollector.slice")
        )),),
        covers=("waagent:firewall", "waagent:accounting"),
    ),
    Operation(
        "ubuntu-pro",
        "the subscription of the build machine: a secret, and not valid for clones",
        (Delete(("/var/lib/ubuntu-advantage/private", "/var/lib/ubuntu-advantage/machine-access-*.json",
                 "/var/lib/ubuntu-advantage/machine-token.json")),),
    ),
)  # fmt: skip

NETWORK = (
    Operation(
        "hostname",
        "the build machine's name; the VM gets its own when it is provisioned",
        (
            Write("/etc/hostname", "localhost.localdomain\n"),
            DropLines(("/etc/hosts",), r"^127\.0\.1\.1[[:space:]]", "the line of the machine's own name"),
            DropLines(("/etc/dhcp/dhclient.conf", "/etc/dhclient.conf"), r"^[[:space:]]*send host-name[[:space:]]*\"",
                      "a fixed host name"),
        ),
        covers=("waagent:hostname",),
    ),
    Operation(
        "net-hostname",
        "the build machine's name in its network settings",
        (DropLines(("/etc/sysconfig/network-scripts/ifcfg-*",), r"^[[:space:]]*(DHCP_)?HOSTNAME=", "host names"),),
        families=RHEL,
        covers=("virt-sysprep:net-hostname",),
    ),
    Operation(
        "net-hwaddr",
        "bound to a MAC address, the interface of a clone stays down",
        (DropLines(("/etc/sysconfig/network-scripts/ifcfg-*",), r"^[[:space:]]*HWADDR=", "MAC addresses"),),
        families=RHEL,
        covers=("virt-sysprep:net-hwaddr",),
    ),
    Operation(
        "net-nmconn",
        "connections of the build machine's interfaces; NetworkManager makes new ones",
        (Delete(("/etc/NetworkManager/system-connections/*.nmconnection",)),),
        families=RHEL,
        covers=("virt-sysprep:net-nmconn",),
    ),
    Operation(
        "resolv-conf",
        "name servers of the build network; the link of systemd-resolved stays",
        (Delete(("/etc/resolv.conf", "/etc/resolvconf/resolv.conf.d/original", "/etc/resolvconf/resolv.conf.d/tail"),
                links=False),),
        covers=("waagent:resolv-conf",),
    ),
    Operation(
        "dhcp-client-state",
        "clones would ask for the build machine's address, with its client identifier",
        (Empty(("/var/lib/dhclient", "/var/lib/dhcp", "/var/lib/dhcpcd")),
         Delete(("/var/db/dhclient.leases.*", "/etc/dhcpcd.duid", "/var/lib/NetworkManager/*.lease",
                 "/var/lib/wicked/*.xml", "/run/systemd/netif/leases/*"))),
        covers=("virt-sysprep:dhcp-client-state", "waagent:dhcp"),
    ),
    Operation(
        "dhcp-server-state",
        "leases that the build machine gave out",
        (Empty(("/var/lib/dhcpd",)),),
        covers=("virt-sysprep:dhcp-server-state",),
    ),
    Operation(
        "networkmanager-state",
        "the secret that stable addresses are made from, and networks that were seen",
        (Delete(("/var/lib/NetworkManager/secret_key", "/var/lib/NetworkManager/seen-bssids",
                 "/var/lib/NetworkManager/timestamps")),),
    ),
    Operation(
        "udev-persistent-net",
        "bound to the build machine's MAC address, a clone's interface gets another name",
        (Delete(("/etc/udev/rules.d/70-persistent-net.rules", "/etc/udev/rules.d/75-persistent-net-generator.rules")),),
        covers=("virt-sysprep:udev-persistent-net",),
    ),
    Operation(
        "firewall-rules",
        "off: without its rules a VM may be open to the network",
        (Delete(("/etc/sysconfig/iptables", "/etc/firewalld/services/*", "/etc/firewalld/zones/*")),),
        default=False,
        covers=("virt-sysprep:firewall-rules",),
    ),
)  # fmt: skip

KEYS = (
    Operation(
        "ssh-hostkeys",
        "all clones would share the keys that prove which machine one talks to",
        (Delete(("/etc/ssh/ssh_host_*", "/etc/dropbear/dropbear_*_host_key")),),
        covers=("virt-sysprep:ssh-hostkeys", "waagent:host-keys"),
    ),
    Operation(
        "random-seed",
        "clones would start from the same random numbers",
        (Delete(("/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed", "/var/lib/random-seed",
                 "/boot/loader/random-seed", "/boot/efi/loader/random-seed", "/efi/loader/random-seed")),),
        covers=("mkosi:random-seed",),
    ),
    Operation(
        "credential-secret",
        "the key that encrypts systemd's credentials on this machine",
        (Delete(("/var/lib/systemd/credential.secret",)),),
        covers=("mkosi:credential-secret",),
    ),
    Operation(
        "snakeoil-certificate",
        "a private key that all clones would share; where systemd runs, each VM makes its own at its first boot",
        (
            Delete(("/etc/ssl/private/ssl-cert-snakeoil.key", "/etc/ssl/certs/ssl-cert-snakeoil.pem")),
            Write("/etc/systemd/system/build-snakeoil.service", SNAKEOIL_UNIT, create=True,
                  needs="/usr/sbin/make-ssl-cert"),
            Link("/etc/systemd/system/multi-user.target.wants/build-snakeoil.service", "../build-snakeoil.service",
                 needs="/usr/sbin/make-ssl-cert"),
        ),
        families=DEBIAN,
    ),
    Operation(
        "service-certificates",
        "self-signed keys that services made for the build machine, and make again",
        (Delete(("/etc/Pegasus/*.cnf", "/etc/Pegasus/*.crt", "/etc/Pegasus/*.csr", "/etc/Pegasus/*.pem",
                 "/etc/Pegasus/*.srl", "/etc/cockpit/ws-certs.d/0-self-signed*")),),
    ),
    Operation(
        "iscsi-initiator",
        "two initiators of one name disturb each other; Debian's daemon makes a name where the file asks for it",
        (Write("/etc/iscsi/initiatorname.iscsi", "GenerateName=yes\n", mode="0600"),),
        families=DEBIAN,
    ),
    Operation(
        "iscsi-initiator-file",
        "two initiators of one name disturb each other; made anew where the file is missing",
        (Delete(("/etc/iscsi/initiatorname.iscsi",)),),
        families=frozenset({"rhel", "suse", "alpine", "azurelinux"}),
    ),
    Operation(
        "nvme-host",
        "the name by which storage systems know this host",
        (Delete(("/etc/nvme/hostnqn", "/etc/nvme/hostid")),),
    ),
    Operation(
        "kerberos-hostkeytab",
        "the build machine's key in its Kerberos realm",
        (Delete(("/etc/krb5.keytab",)),),
        covers=("virt-sysprep:kerberos-hostkeytab",),
    ),
    Operation(
        "kerberos-data",
        "off: it is the database of a Kerberos server, which an image of one may be meant to carry",
        (Delete(tuple(f"/var/kerberos/krb5kdc/{name}" for name in ("principal*", "stash", ".k5.*", "*.pem"))),),
        default=False,
        covers=("virt-sysprep:kerberos-data",),
    ),
    Operation(
        "ca-certificates",
        "off: certificates in these folders are mostly put there on purpose",
        (Delete(tuple(
            f"/etc/pki/{folder}/{name}"
            for folder in ("CA/certs", "CA/crl", "CA/newcerts", "CA/private", "tls/certs", "tls/private")
            for name in ("[!c]*.crt", "c[!a]*.crt", "*.key")
        )), RunProgram(("update-ca-trust", "extract"))),
        default=False,
        covers=("virt-sysprep:ca-certificates",),
    ),
    Operation(
        "ipa-client",
        "the build machine's membership in an identity domain",
        (Delete(("/etc/ipa/ca.crt", "/etc/ipa/default.conf", "/var/lib/ipa-client/sysrestore/*",
                 "/var/lib/ipa-client/pki/*", "/etc/pki/ca-trust/source/ipa.p11-kit",
                 "/etc/pki/ca-trust/source/anchors/ipa*.crt", "/usr/local/share/ca-certificates/ipa-ca/*")),),
        covers=("virt-sysprep:ipa-client",),
    ),
)  # fmt: skip
