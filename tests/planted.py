"""What a used machine carries: for each generalize operation, files that it must take out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n"
MACHINE_ID = "0123456789abcdef0123456789abcdef\n"

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
postgres:x:105:110::/var/lib/postgresql:/bin/sh
azureuser:x:1000:1000:Ubuntu:/home/azureuser:/bin/sh
app:x:1001:1001::/home/app:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUP = """\
root:x:0:
adm:x:4:app,azureuser,postgres
daemon:x:1:
shadow:x:42:
postgres:x:110:
azureuser:x:1000:
app:x:1001:
nogroup:x:65534:
"""
SHADOW = "".join(f"{line.split(':')[0]}:*:19000:0:99999:7:::\n" for line in PASSWD.splitlines())
OS_RELEASE = {
    "debian": 'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "rhel": 'ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n',
}

# What every machine has, and keeps
BASE: Mapping[str, str] = {
    "/etc/passwd": PASSWD,
    "/etc/group": GROUP,
    "/etc/shadow": SHADOW,
    "/etc/login.defs": "UID_MIN\t\t\t 1000\nUID_MAX\t\t\t60000\n",
    "/etc/fstab": "UUID=1234 / ext4 defaults 0 1\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
    "/etc/ssh/sshd_config": "PermitRootLogin no\n",
    "/etc/dhcp/dhclient.conf": "send host-name = gethostname();\n",
    "/etc/nginx/nginx.conf": "worker_processes auto;\n",
    "/usr/lib/systemd/systemd": "",
    "/var/lib/postgresql/data": "rows\n",
    "/home/app/work": "kept\n",
    "/var/log/nginx/access.log": "",
}

# Operation to files that it removes, empties or changes
PLANTED: Mapping[str, Mapping[str, str]] = {
    "provisioned-user": {
        "/var/lib/waagent/ovf-env.xml": "<?xml?><Environment><ns1:UserName>azureuser</ns1:UserName></Environment>",
        "/home/azureuser/notes": "mine\n",
    },
    "user-account": {"/home/app/work": "kept\n"},
    "root-password": {"/etc/shadow": SHADOW.replace("root:*:", "root:$6$salt$hash:")},
    "cloud-init-sudoers": {
        "/etc/sudoers.d/90-cloud-init-users": "# User rules for azureuser\nazureuser ALL=(ALL) NOPASSWD:ALL\n",
        "/etc/sudoers.d/waagent": "azureuser ALL=(ALL) NOPASSWD: ALL\n",
    },
    "ssh-userdir": {
        "/root/.ssh/authorized_keys": "ssh-ed25519 AAAA me\n",
        "/home/app/.ssh/id_ed25519": KEY,
        "/home/azureuser/.ssh/authorized_keys": "ssh-ed25519 AAAA me\n",
        "/home/with space/.ssh/known_hosts": "host key\n",
        "/var/lib/postgresql/.ssh/id_rsa": KEY,
    },
    "shell-history": {
        "/root/.bash_history": "mysql -psecret\n",
        "/home/app/.zsh_history": "x\n",
        "/home/app/.ash_history": "x\n",
        "/home/app/.local/share/fish/fish_history": "x\n",
        "/home/with space/.bash_history": "x\n",
    },
    "program-history": {
        f"/home/app/{name}": "x\n"
        for name in (".python_history", ".viminfo", ".lesshst", ".wget-hsts", ".mysql_history", ".psql_history",
                     ".local/state/nvim/shada/main.shada")
    },
    "passwd-backups": {f"/etc/{name}-": "old\n" for name in ("passwd", "shadow", "group", "gshadow", "subuid")},
    "cloud-init-instance": {
        "/var/lib/cloud/instances/i-1/user-data.txt": "password: secret\n",
        "/var/lib/cloud/instances/i-1/sem/config_users": "",
        "/var/lib/cloud/data/instance-id": "i-1\n",
        "/var/lib/cloud/sem/config_scripts": "",
    },
    "cloud-init-seed": {"/var/lib/cloud/seed/nocloud/user-data": "#cloud-config\n"},
    "cloud-init-network": {
        "/etc/netplan/50-cloud-init.yaml": "macaddress\n",
        "/etc/NetworkManager/conf.d/99-cloud-init.conf": "x\n",
        "/etc/NetworkManager/system-connections/cloud-init-eth0.nmconnection": "x\n",
        "/etc/systemd/network/10-cloud-init-eth0.network": "x\n",
        "/etc/network/interfaces.d/50-cloud-init": "x\n",
    },
    "cloud-init-ssh-config": {"/etc/ssh/sshd_config.d/50-cloud-init.conf": "PasswordAuthentication yes\n"},
    "cloud-init-fstab": {
        "/etc/fstab": BASE["/etc/fstab"] + "/dev/disk/cloud/azure_resource-part1 /mnt auto comment=cloudconfig 0 2\n"
    },
    "waagent-state": {
        "/var/lib/waagent/ovf-env.xml": "<UserName>azureuser</UserName>",
        "/var/lib/waagent/0A1B.prv": KEY,
        "/var/lib/waagent/WALinuxAgent-2.9/bin/agent.egg": "x",
        "/var/lib/waagent/.hidden": "x",
    },
    "waagent-units": {
        "/etc/systemd/system/waagent-network-setup.service": "x\n",
        "/usr/lib/systemd/system/walinuxagent.service.d/11-CPUAccounting.conf": "x\n",
        "/usr/lib/systemd/system/azure-walinuxagent-logcollector.slice": "x\n",
    },
    "ubuntu-pro": {"/var/lib/ubuntu-advantage/private/machine-token.json": "{}"},
    "hostname": {
        "/etc/hostname": "buildvm\n",
        "/etc/hosts": BASE["/etc/hosts"] + "127.0.1.1 buildvm\n",
        "/etc/dhcp/dhclient.conf": 'send host-name "buildvm";\n' + BASE["/etc/dhcp/dhclient.conf"],
    },
    "net-hostname": {"/etc/sysconfig/network-scripts/ifcfg-eth0": "DEVICE=eth0\nDHCP_HOSTNAME=buildvm\n"},
    "net-hwaddr": {"/etc/sysconfig/network-scripts/ifcfg-eth1": "DEVICE=eth1\nHWADDR=00:0d:3a:00:00:01\n"},
    "net-nmconn": {"/etc/NetworkManager/system-connections/eth0.nmconnection": "x\n"},
    "resolv-conf": {"/etc/resolv.conf": "nameserver 168.63.129.16\n"},
    "dhcp-client-state": {
        "/var/lib/dhcp/dhclient.eth0.leases": "x\n",
        "/var/lib/dhclient/dhclient.leases": "x\n",
        "/var/lib/dhcpcd/duid": "x\n",
        "/var/lib/NetworkManager/internal-1-eth0.lease": "x\n",
    },
    "dhcp-server-state": {"/var/lib/dhcpd/dhcpd.leases": "x\n"},
    "networkmanager-state": {
        "/var/lib/NetworkManager/secret_key": "x\n",
        "/var/lib/NetworkManager/seen-bssids": "x\n",
    },
    "udev-persistent-net": {"/etc/udev/rules.d/70-persistent-net.rules": "x\n"},
    "firewall-rules": {"/etc/sysconfig/iptables": "x\n", "/etc/firewalld/zones/public.xml": "x\n"},
    "ssh-hostkeys": {
        "/etc/ssh/ssh_host_ed25519_key": KEY,
        "/etc/ssh/ssh_host_ed25519_key.pub": "ssh-ed25519 AAAA\n",
        "/etc/ssh/ssh_host_rsa_key": KEY,
    },
    "random-seed": {"/var/lib/systemd/random-seed": "x", "/boot/efi/loader/random-seed": "x"},
    "credential-secret": {"/var/lib/systemd/credential.secret": "x"},
    "snakeoil-certificate": {
        "/usr/sbin/make-ssl-cert": "",
        "/etc/ssl/private/ssl-cert-snakeoil.key": KEY.replace("OPENSSH ", ""),
        "/etc/ssl/certs/ssl-cert-snakeoil.pem": "x\n",
    },
    "service-certificates": {"/etc/cockpit/ws-certs.d/0-self-signed.key": KEY, "/etc/Pegasus/file.pem": KEY},
    "iscsi-initiator": {"/etc/iscsi/initiatorname.iscsi": "InitiatorName=iqn.1993-08.org.debian:01:abc\n"},
    "iscsi-initiator-file": {"/etc/iscsi/initiatorname.iscsi": "InitiatorName=iqn.1994-05.com.redhat:abc\n"},
    "nvme-host": {"/etc/nvme/hostnqn": "nqn\n", "/etc/nvme/hostid": "id\n"},
    "kerberos-hostkeytab": {"/etc/krb5.keytab": "x"},
    "kerberos-data": {"/var/kerberos/krb5kdc/principal": "x", "/var/kerberos/krb5kdc/.k5.EXAMPLE": "x"},
    "ca-certificates": {"/etc/pki/tls/private/localhost.key": KEY, "/etc/pki/CA/certs/own.crt": "x\n"},
    "ipa-client": {"/etc/ipa/ca.crt": "x\n", "/var/lib/ipa-client/pki/key4.db": "x"},
    "rh-subscription-manager": {"/etc/pki/consumer/key.pem": KEY, "/etc/pki/entitlement/1-key.pem": KEY},
    "rhn-systemid": {"/etc/sysconfig/rhn/systemid": "x\n"},
    "yum-uuid": {"/var/lib/yum/uuid": "x\n"},
    "smolt-uuid": {"/etc/smolt/hw-uuid": "x\n"},
    "puppet-data-log": {"/var/lib/puppet/ssl/private_keys/host.pem": KEY, "/etc/puppetlabs/puppet/ssl/host.pem": KEY},
    "salt-minion": {"/etc/salt/minion_id": "buildvm\n", "/etc/salt/pki/minion/minion.pem": KEY},
    "samba-db-log": {"/var/lib/samba/private/secrets.tdb": "x"},
    "sssd-db-log": {"/var/lib/sss/db/cache_example.ldb": "x"},
    "dovecot-data": {"/var/lib/dovecot/instances": "x\n"},
    "logs": {
        "/var/log/syslog": "x\n",
        "/var/log/syslog.1": "x\n",
        "/var/log/syslog.2.gz": "x",
        "/var/log/messages-20240101": "x\n",
        "/var/log/waagent.log": "x\n",
        "/var/log/azure/agent/x.log": "x\n",
        "/var/log/cloud-init.log": "x\n",
        "/var/log/journal/0123456789abcdef0123456789abcdef/system.journal": "x",
        "/var/log/unattended-upgrades/unattended-upgrades.log": "x\n",
        "/var/log/wtmp": "x",
        "/var/log/btmp": "x",
        "/var/log/lastlog": "x",
        "/var/log/apt/history.log": "x\n",
        "/root/anaconda-ks.cfg": "rootpw secret\n",
    },
    "pacct-log": {"/var/account/pacct": "x", "/var/account/pacct-20240101": "x"},
    "crash-data": {"/var/crash/vmcore": "x", "/var/lib/systemd/coredump/core.x": "x"},
    "abrt-data": {"/var/spool/abrt/ccpp-1/coredump": "x"},
    "tmp-files": {"/tmp/left over/x": "x", "/tmp/.hidden": "x", "/var/tmp/y": "x", "/tmp/odd\nname": "x",
                  "/tmp/-rf": "x"},
    "backup-files": {"/etc/nginx/nginx.conf.bak": "x\n", "/root/script~": "x\n", "/srv/a b/c.bak": "x\n"},
    "mail-spool": {"/var/mail/root": "x\n", "/var/spool/mail/app": "x\n"},
    "cron-spool": {
        "/var/spool/cron/crontabs/app": "* * * * * x\n",
        "/var/spool/cron/atjobs/a0001": "x\n",
        "/var/spool/cron/atjobs/.SEQ": "00007\n",
    },
    "package-cache": {
        "/var/cache/apt/archives/nginx_1_amd64.deb": "x",
        "/var/cache/dnf/x/packages/y.rpm": "x",
        "/var/cache/apk/APKINDEX.tar.gz": "x",
    },
    "package-lists": {"/var/lib/apt/lists/deb.debian.org_InRelease": "x", "/var/cache/apt/pkgcache.bin": "x"},
    "caches": {"/var/cache/man/index.db": "x", "/var/cache/fontconfig/x-le64.cache-8": "x"},
    "rpm-db": {"/var/lib/rpm/__db.001": "x"},
    "blkid-tab": {"/etc/blkid.tab": "x\n", "/etc/blkid/blkid.tab": "x\n"},
    "lvm-system-devices": {"/etc/lvm/devices/system.devices": "x\n"},
    "pam-data": {"/var/lib/faillock/app": "x"},
    "machine-info": {"/etc/machine-info": "PRETTY_HOSTNAME=buildvm\n"},
    "machine-id": {"/etc/machine-id": MACHINE_ID, "/var/lib/dbus/machine-id": MACHINE_ID},
    "flag-reconfiguration": {},
    "cloud-init-clean-hooks": {},
    "utmp": {},
}  # fmt: skip

# Operations that leave nothing on a disk to find: programs that they run, and what a tmpfs hides at every boot
NOTHING_TO_FIND = frozenset({"cloud-init-clean-hooks", "utmp"})
RHEL_ONLY = frozenset({"net-hostname", "net-hwaddr", "net-nmconn", "iscsi-initiator-file"})


def family_of(operation: str) -> str:
    """A distribution that the operation applies to."""
    return "rhel" if operation in RHEL_ONLY else "debian"


def plant(root: Path, operations: Iterable[str], *, distribution: str = "debian") -> None:
    """Make a machine's files below a folder: the base, and what each of the operations takes out."""
    write(root, {**BASE, "/etc/os-release": OS_RELEASE[distribution]})
    (root / "tmp").mkdir(exist_ok=True, mode=0o1777)
    for operation in operations:
        write(root, PLANTED[operation])
    for name, uid in (("azureuser", 1000), ("app", 1001)):
        home = root / "home" / name
        home.mkdir(parents=True, exist_ok=True)
        os.chown(home, uid, uid)


def write(root: Path, files: Mapping[str, str]) -> None:
    """Write files below a root, with the folders above them."""
    for path, text in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        if path == "/etc/shadow":
            target.chmod(0o640)
