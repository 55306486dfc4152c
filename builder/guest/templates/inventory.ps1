# What the image holds: installed programs, updates, features, services, accounts, and files of ours.
function Get-Program {
    $software = 'HKLM:\SOFTWARE'
    foreach ($part in @{ hive = $software; bits = 64 }, @{ hive = "$software\WOW6432Node"; bits = 32 }) {
        $hive = "$($part.hive)\Microsoft\Windows\CurrentVersion\Uninstall"
        foreach ($key in @(Get-ChildItem -LiteralPath $hive -ErrorAction SilentlyContinue)) {
            $name = "$($key.GetValue('DisplayName', ''))"
            # Parts of programs, and updates of them, aren't programs
            if (-not $name -or $key.GetValue('SystemComponent', 0) -or $key.GetValue('ParentKeyName', '')) { continue }
            @{ name = $name; version = "$($key.GetValue('DisplayVersion', ''))"; bits = $part.bits }
        }
    }
}

function Get-Hotfix {
    Get-CimInstance -ClassName Win32_QuickFixEngineering | ForEach-Object { "$($_.HotFixID)" }
}

function Get-Feature {
    if (Test-Command -Name 'Get-WindowsFeature') {
        Get-WindowsFeature | Where-Object { $_.Installed } | ForEach-Object { "$($_.Name)" }
    } else {
        $features = Get-WindowsOptionalFeature -Online
        $features | Where-Object { "$($_.State)" -eq 'Enabled' } | ForEach-Object { "$($_.FeatureName)" }
    }
}

function Get-Account {
    $profiles = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList'
    foreach ($user in Get-CimInstance -ClassName Win32_UserAccount -Filter 'LocalAccount = True') {
        $home_folder = Get-Value -Path "$profiles\$($user.SID)" -Name 'ProfileImagePath'
        @{ name = $user.Name; sid = $user.SID; home = "$home_folder"; disabled = [bool]$user.Disabled }
    }
}

function Get-OurFile([string[]]$Paths) {
    foreach ($path in $Paths) {
        if (-not (Test-Path -LiteralPath $path -PathType Leaf)) { continue }
        @{
            path = $path
            sha256 = (Get-FileHash -LiteralPath $path -Algorithm SHA256).Hash
            owner = "$((Get-Acl -LiteralPath $path).Owner)"
        }
    }
}

function Get-BuildInventory([string[]]$Paths) {
    $windows = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    $os = Get-CimInstance -ClassName Win32_OperatingSystem
    $services = Get-CimInstance -ClassName Win32_Service -Filter "StartMode = 'Auto'"
    @{
        caption = "$($os.Caption)"
        architecture = "$env:PROCESSOR_ARCHITECTURE"
        version = "$($os.Version)"
        revision = [int](Get-Value -Path $windows -Name 'UBR')
        edition = "$(Get-Value -Path $windows -Name 'EditionID')"
        installation = "$(Get-Value -Path $windows -Name 'InstallationType')"
        release = "$(Get-Value -Path $windows -Name 'DisplayVersion')"
        rearms_left = (Get-CimInstance -ClassName SoftwareLicensingService).RemainingWindowsReArmCount
        programs = @(Get-Program)
        hotfixes = @(Get-Hotfix)
        features = @(Get-Feature)
        services = @($services | ForEach-Object { "$($_.Name)" })
        users = @(Get-Account)
        files = @(Get-OurFile -Paths $Paths)
    }
}
