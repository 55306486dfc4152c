# Packages by Chocolatey where it is there, since somebody put it there, else by winget.

# A restart that is needed to finish is no failure
$chocolateyAccepts = 0, 1641, 3010
$wingetRestarts = 0x8A150109, 0x8A15010B
# No newer version; installed already, in this version or another
$wingetAccepts = @(0, 0x8A15002B, 0x8A150061, 0x8A15010D) + $wingetRestarts
$wingetNoInstaller = 0x8A150010
$wingetNotInstalled = 0x8A150014

# The agent that runs us began before earlier steps changed PATH, and winget is on the PATH of people only
function Find-Program([string]$Name, [string[]]$Places) {
    $found = Get-Command -Name $Name -CommandType Application -ErrorAction SilentlyContinue | Select-Object -First 1
    if ($null -ne $found) { return $found.Path }
    $files = @(Get-Item -Path $Places -ErrorAction SilentlyContinue)
    $newest = $files | Sort-Object { $_.VersionInfo.FileVersionRaw } | Select-Object -Last 1
    if ($null -ne $newest) { $newest.FullName }
}

$chocolatey = Find-Program -Name 'choco.exe' -Places "$env:ProgramData\chocolatey\bin\choco.exe"
$winget = Find-Program -Name 'winget.exe' -Places (
    "$env:ProgramFiles\WindowsApps\Microsoft.DesktopAppInstaller_*_8wekyb3d8bbwe\winget.exe")
if ($chocolatey) {
    Write-Output 'packages by Chocolatey'
} elseif ($winget) {
    Write-Output 'packages by winget'
} else {
    throw 'the image has neither Chocolatey nor winget: install one of them in an earlier step'
}

function Invoke-Chocolatey([string[]]$Arguments) {
    Invoke-Program -Program $chocolatey -Arguments ($Arguments + '--yes', '--no-progress') -Accept $chocolateyAccepts
    if ($LASTEXITCODE -ne 0) { Write-Output 'a restart is needed to finish' }
}

function Invoke-Winget([string[]]$Arguments, [int[]]$Accept = $wingetAccepts) {
    $quiet = '--silent', '--accept-source-agreements', '--disable-interactivity'
    Invoke-Program -Program $winget -Arguments ($Arguments + $quiet) -Accept $Accept
    if ($wingetRestarts -contains $LASTEXITCODE) { Write-Output 'a restart is needed to finish' }
}

function Update-AllPackages {
    if ($chocolatey) {
        Invoke-Chocolatey -Arguments 'upgrade', 'all'
    } else {
        Invoke-Winget -Arguments 'upgrade', '--all', '--accept-package-agreements'
    }
}

function Install-BuildPackage([string]$Name, [string]$Version = '') {
    if ($chocolatey) {
        # `upgrade` installs what is missing too
        $arguments = 'upgrade', $Name
        if ($Version) { $arguments += '--version', $Version, '--allow-downgrade' }
        Invoke-Chocolatey -Arguments $arguments
        return
    }
    $arguments = 'install', '--id', $Name, '--exact', '--accept-package-agreements'
    if ($Version) { $arguments += '--version', $Version }
    # For all users: what goes into the profile of the build's own account is lost
    Invoke-Winget -Arguments ($arguments + '--scope', 'machine') -Accept ($wingetAccepts + $wingetNoInstaller)
    if ($LASTEXITCODE -eq $wingetNoInstaller) {
        Write-Output "$Name has no installer that says it is for all users: taking the one it has"
        Invoke-Winget -Arguments $arguments
    }
}

function Remove-BuildPackage([string]$Name) {
    if ($chocolatey) {
        $folder = Join-Path (Split-Path -Parent (Split-Path -Parent $chocolatey)) "lib\$Name"
        if (Test-Path -LiteralPath $folder) {
            Invoke-Chocolatey -Arguments 'uninstall', $Name
            return
        }
    } else {
        $codes = @(0, $wingetNotInstalled) + $wingetRestarts
        Invoke-Winget -Arguments 'uninstall', '--id', $Name, '--exact' -Accept $codes
        if ($LASTEXITCODE -ne $wingetNotInstalled) { return }
    }
    Write-Output "$Name is not installed: nothing to remove"
}
