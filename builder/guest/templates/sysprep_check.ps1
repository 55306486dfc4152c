# What Sysprep depends on: read, never changed. What an edition of Windows doesn't have is nothing, and no error.
$setup = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion'
$system = 'HKLM:\SYSTEM\CurrentControlSet'

function Get-InstalledFeature {
    if (Test-Command -Name 'Get-WindowsFeature') {
        Get-WindowsFeature | Where-Object { $_.Installed } | ForEach-Object { $_.Name }
    }
}

# ConversionStatus 0 is fully decrypted. Without the BitLocker feature there is no such class, and nothing encrypted
function Get-EncryptedVolume {
    $namespace = 'root\CIMV2\Security\MicrosoftVolumeEncryption'
    $volumes = Get-CimInstance -Namespace $namespace -ClassName Win32_EncryptableVolume -ErrorAction SilentlyContinue
    foreach ($volume in $volumes) {
        $status = (Invoke-CimMethod -InputObject $volume -MethodName GetConversionStatus).ConversionStatus
        if ($status -ne 0) { if ($volume.DriveLetter) { $volume.DriveLetter } else { $volume.DeviceID } }
    }
}

function Get-PendingRestart {
    if (Test-Path -LiteralPath "$setup\Component Based Servicing\RebootPending") { 'servicing' }
    if (Test-Path -LiteralPath "$setup\WindowsUpdate\Auto Update\RebootRequired") { 'updates' }
    $renames = Get-Value -Path "$system\Control\Session Manager" -Name 'PendingFileRenameOperations'
    if (@($renames | Where-Object { $_ }).Count) { 'renames' }
}

# Apps that people installed or updated from the Store, compared with those that every new account gets
function Get-StoreApp {
    if (-not (Test-Command -Name 'Get-AppxPackage')) { return }
    $provisioned = @{}
    foreach ($app in Get-AppxProvisionedPackage -Online) { $provisioned[$app.DisplayName] = "$($app.Version)" }
    foreach ($app in Get-AppxPackage -AllUsers -PackageTypeFilter Main) {
        $people = @($app.PackageUserInformation | Where-Object { "$($_.InstallState)" -eq 'Installed' })
        if (-not $people.Count -or $app.NonRemovable -or "$($app.SignatureKind)" -eq 'System') { continue }
        if (-not $provisioned.ContainsKey($app.Name)) {
            @{ name = $app.PackageFullName; provisioned = $false }
        } elseif ($provisioned[$app.Name] -ne "$($app.Version)") {
            @{ name = $app.PackageFullName; provisioned = $true }
        }
    }
}

# A policy that forbids all removable storage, or to read CDs
function Test-StorageDenied {
    $policies = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\RemovableStorageDevices'
    $readers = "$policies\{53f56308-b6bf-11d0-94f2-00a0c91efb8b}"
    [bool](Get-Value -Path $policies -Name 'Deny_All') -or [bool](Get-Value -Path $readers -Name 'Deny_Read')
}

function Test-EncryptedCredentials {
    $config = "$env:SystemRoot\System32\inetsrv\config\applicationHost.config"
    (Test-Path -LiteralPath $config) -and [bool](Select-String -LiteralPath $config -SimpleMatch '[enc:' -Quiet)
}

function Get-SysprepFact([string[]]$LeftOvers, [string[]]$Agents) {
    $features = @(Get-InstalledFeature)
    $windows = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    $status = 'HKLM:\SYSTEM\Setup\Status\SysprepStatus'
    $computer = Get-CimInstance -ClassName Win32_ComputerSystem
    $services = @(Get-Service -Name $Agents -ErrorAction SilentlyContinue)
    $hypervisor = $features -contains 'Hyper-V' -and (Test-Command -Name 'Get-VMSwitch')
    $switches = if ($hypervisor) { @(Get-VMSwitch).Count } else { 0 }
    @{
        edition = "$(Get-Value -Path $windows -Name 'EditionID')"
        installation = "$(Get-Value -Path $windows -Name 'InstallationType')"
        build = '{0}.{1}' -f (Get-Value -Path $windows -Name 'CurrentBuild'), (Get-Value -Path $windows -Name 'UBR')
        features = $features
        encrypted_volumes = @(Get-EncryptedVolume)
        pending_restart = @(Get-PendingRestart)
        domain = if ($computer.PartOfDomain) { $computer.Domain } else { '' }
        store_apps = @(Get-StoreApp)
        cdrom_start = Get-Value -Path "$system\Services\cdrom" -Name 'Start'
        storage_denied = Test-StorageDenied
        image_state = "$(Get-Value -Path "$setup\Setup\State" -Name 'ImageState')"
        generalization_state = Get-Value -Path $status -Name 'GeneralizationState'
        cleanup_state = Get-Value -Path $status -Name 'CleanupState'
        skip_rearm = [bool](Get-Value -Path "$windows\SoftwareProtectionPlatform" -Name 'SkipRearm')
        rearms_left = (Get-CimInstance -ClassName SoftwareLicensingService).RemainingWindowsReArmCount
        left_overs = @($LeftOvers | ForEach-Object { [Environment]::ExpandEnvironmentVariables($_) } |
            Where-Object { Test-Path -LiteralPath $_ })
        agents = @($services | ForEach-Object { @{ name = $_.Name; state = "$($_.Status)" } })
        virtual_switches = $switches
        encrypted_credentials = Test-EncryptedCredentials
    }
}
